//! The verifier's own Merkle tree: roots by the definition of RFC 6962 §2.1, and what each tile must hold.

use aws_lc_rs::digest::{Context, SHA256};

/// A SHA-256 hash.
pub(super) type Hash = [u8; 32];

/// Hashes in a full tile.
pub(super) const WIDTH: usize = 256;

/// MTH of one entry.
pub(super) fn leaf_hash(entry: &[u8]) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(&[0x00]);
    context.update(entry);
    finish(context)
}

pub(super) fn pair_hash(left: &Hash, right: &Hash) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(&[0x01]);
    context.update(left);
    context.update(right);
    finish(context)
}

fn finish(context: Context) -> Hash {
    let digest = context.finish();
    digest.as_ref().try_into().unwrap_or([0; 32])
}

/// `MTH(D[n])`, from the hashes of the entries, split at the largest power of two smaller than n.
pub(super) fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => finish(Context::new(&SHA256)),
        [only] => *only,
        many => {
            let (left, right) = many.split_at(many.len().next_power_of_two() / 2);
            pair_hash(&root(left), &root(right))
        }
    }
}

/// The roots of the beginnings that have these sizes, which ascend and are not longer than the whole.
pub(super) fn roots(leaves: &[Hash], sizes: &[usize]) -> Vec<Hash> {
    // Full trees, each at least twice as large as the next: what the leaves so far consist of.
    let mut full: Vec<(usize, Hash)> = Vec::new();
    let mut next = leaves.iter();
    let mut at = 0;
    let mut roots = Vec::new();
    for size in sizes {
        for leaf in next.by_ref().take(size - at) {
            let mut tree = (1, *leaf);
            while let Some(left) = full.pop_if(|left| left.0 == tree.0) {
                tree = (tree.0 * 2, pair_hash(&left.1, &tree.1));
            }
            full.push(tree);
        }
        at = *size;
        let parts = full.iter().rev().map(|(_, hash)| *hash);
        let whole = parts.reduce(|right, left| pair_hash(&left, &right));
        roots.push(whole.unwrap_or_else(|| root(&[])));
    }
    roots
}

/// The hashes of every tile level: the leaves, then the roots of each full tile of the level below.
pub(super) fn levels(leaves: &[Hash]) -> Vec<Vec<Hash>> {
    let mut levels = vec![leaves.to_vec()];
    while let Some(below) = levels.last().filter(|below| below.len() >= WIDTH) {
        let next = below.chunks_exact(WIDTH).map(root).collect();
        levels.push(next);
    }
    levels.retain(|level| !level.is_empty());
    levels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_roots_of_beginnings_are_those_of_the_definition() {
        let leaves: Vec<Hash> = (0..70u8).map(|n| leaf_hash(&[n])).collect();
        let sizes: Vec<usize> = (0..=70).chain([70]).collect();
        let one_by_one: Vec<Hash> = sizes.iter().map(|size| root(&leaves[..*size])).collect();
        assert_eq!(roots(&leaves, &sizes), one_by_one);
        assert_eq!(roots(&leaves, &[3, 64]), [one_by_one[3], one_by_one[64]]);
    }
}
