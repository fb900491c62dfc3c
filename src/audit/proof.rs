//! Proofs over the tree, by the definitions of RFC 6962 §2.1, and the files in which they go out.
//!
//! Pure: hashes in, hashes out. Where the hashes come from is `search`'s to say; whether a proof holds is the verifier's
//! (`cli/verify`), which shares no code with this.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::tree::{self, Hash};

/// Gives the root over the records `from..until`: of one, its leaf hash. Asked only for what a split of the tree makes.
pub(super) type Roots<'a> = &'a dyn Fn(u64, u64) -> Option<Hash>;

/// PATH(index, `D[size]`): what proves that a record is in a tree, from the leaf's sibling up. `None` if a root is not to
/// be had.
pub(super) fn inclusion(index: u64, size: u64, roots: Roots<'_>) -> Option<Vec<Hash>> {
    let (mut from, mut until) = (0, size);
    let mut path = Vec::new();
    while until - from > 1 {
        let split = from + half(until - from);
        if index < split {
            path.push(roots(split, until)?);
            until = split;
        } else {
            path.push(roots(from, split)?);
            from = split;
        }
    }
    path.reverse();
    Some(path)
}

/// PROOF(old, `D[size]`): what proves that the tree of `old` records is the beginning of this one. `None` if a root is not
/// to be had.
pub(super) fn consistency(old: u64, size: u64, roots: Roots<'_>) -> Option<Vec<Hash>> {
    let (mut from, mut until) = (0, size);
    let mut path = Vec::new();
    // Nothing proves that an empty tree, or the same one, is a beginning: it is.
    while old > 0 && old < until {
        let split = from + half(until - from);
        if old <= split {
            path.push(roots(split, until)?);
            until = split;
        } else {
            path.push(roots(from, split)?);
            from = split;
        }
    }
    if old > 0 && from > 0 {
        path.push(roots(from, until)?);
    }
    path.reverse();
    Some(path)
}

/// The root over `from..until`, made of those of smaller parts, down to `part`, which knows the smallest ones.
pub(super) fn root(from: u64, until: u64, part: Roots<'_>) -> Option<Hash> {
    if let Some(known) = part(from, until) {
        return Some(known);
    }
    if until - from < 2 {
        return None;
    }
    let split = from + half(until - from);
    Some(tree::node(&root(from, split, part)?, &root(split, until, part)?))
}

/// The largest power of two below `size`, which is more than one.
fn half(size: u64) -> u64 {
    1 << (u64::BITS - 1 - (size - 1).leading_zeros())
}

/// An inclusion proof as a file (c2sp.org/tlog-proof), with the record itself as its extra data.
pub(super) fn inclusion_text(index: u64, record: &[u8], path: &[Hash], checkpoint: &str) -> String {
    let record = STANDARD.encode(record);
    format!(
        "c2sp.org/tlog-proof@v1\nextra {record}\nindex {index}\n{}\n{checkpoint}",
        lines(path)
    )
}

/// A consistency proof as a file: what a witness is sent (c2sp.org/tlog-witness, `add-checkpoint`).
pub(super) fn consistency_text(old: u64, path: &[Hash], checkpoint: &str) -> String {
    format!("old {old}\n{}\n{checkpoint}", lines(path))
}

fn lines(path: &[Hash]) -> String {
    path.iter().map(|hash| STANDARD.encode(hash) + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6962 §2.1.1 and §2.1.2, as they are written there.
    fn naive_path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() < 2 {
            return Vec::new();
        }
        let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
        let (mut path, other) = if index < left.len() {
            (naive_path(index, left), right)
        } else {
            (naive_path(index - left.len(), right), left)
        };
        path.push(naive_root(other));
        path
    }

    fn naive_subproof(old: usize, leaves: &[Hash], is_old: bool) -> Vec<Hash> {
        if old == leaves.len() {
            return if is_old { Vec::new() } else { vec![naive_root(leaves)] };
        }
        let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
        let (mut path, other) = if old <= left.len() {
            (naive_subproof(old, left, is_old), right)
        } else {
            (naive_subproof(old - left.len(), right, false), left)
        };
        path.push(naive_root(other));
        path
    }

    fn naive_root(leaves: &[Hash]) -> Hash {
        match leaves {
            [only] => *only,
            many => {
                let (left, right) = many.split_at(many.len().next_power_of_two() / 2);
                tree::node(&naive_root(left), &naive_root(right))
            }
        }
    }

    #[test]
    fn the_proofs_are_those_of_the_definition() {
        let leaves: Vec<_> = (0..70u8).map(|n| tree::leaf(&[n])).collect();
        // As the index knows them: single leaves, and whole stretches, here of four.
        let part = |from: u64, until: u64| {
            let leaves = &leaves[usize::try_from(from).unwrap()..usize::try_from(until).unwrap()];
            (until - from == 1 || (from.is_multiple_of(4) && until - from == 4)).then(|| naive_root(leaves))
        };
        let roots = |from, until| root(from, until, &part);
        for size in 1..=leaves.len() {
            let (tree, n) = (&leaves[..size], u64::try_from(size).unwrap());
            for at in 0..size {
                let path = inclusion(u64::try_from(at).unwrap(), n, &roots).unwrap();
                assert_eq!(path, naive_path(at, tree), "{at} of {size}");
                let old = at + 1;
                let path = consistency(u64::try_from(old).unwrap(), n, &roots).unwrap();
                assert_eq!(path, naive_subproof(old, tree, true), "{old} to {size}");
            }
            assert_eq!(consistency(0, n, &roots).unwrap(), Vec::<Hash>::new());
        }
    }
}
