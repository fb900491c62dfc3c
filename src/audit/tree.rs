//! RFC 6962 §2.1 hashing: leaf and node hashes, and a tree that grows at its right end.
//!
//! Only the frontier (the roots of the complete subtrees, widest first) is kept, so a tree of any size costs at most
//! 64 hashes of memory.

use aws_lc_rs::digest::{Context, SHA256, digest};

/// A SHA-256 hash.
pub(super) type Hash = [u8; 32];

/// The hash of a leaf: SHA-256(0x00 || record).
pub(super) fn leaf(record: &[u8]) -> Hash {
    sha256(&[&[0], record])
}

/// The hash of an inner node: SHA-256(0x01 || left || right).
pub(super) fn node(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

fn sha256(parts: &[&[u8]]) -> Hash {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    to_hash(context.finish().as_ref())
}

fn to_hash(bytes: &[u8]) -> Hash {
    let mut hash = [0; 32];
    for (to, from) in hash.iter_mut().zip(bytes) {
        *to = *from;
    }
    hash
}

/// The tree over the records so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tree {
    size: u64,
    // INVARIANT: one hash for each set bit of `size`, the highest bit first.
    frontier: Vec<Hash>,
}

impl Tree {
    /// How many leaves there are; the next record's index.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The tree of `size` leaves with this frontier, as [`Self::frontier`] gave it; `None` if it is none.
    pub(super) fn of(size: u64, frontier: &[u8]) -> Option<Self> {
        let (hashes, rest) = frontier.as_chunks::<32>();
        let fits = rest.is_empty() && u32::try_from(hashes.len()) == Ok(size.count_ones());
        fits.then(|| Self {
            size,
            frontier: hashes.to_vec(),
        })
    }

    /// The hashes from which the tree grows on, one behind the other. They give the root, so whoever signed the root of
    /// this tree, or of one that it grew into, signed them.
    pub(super) fn frontier(&self) -> Vec<u8> {
        self.frontier.concat()
    }

    /// Appends a leaf hash.
    pub(super) fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for _ in 0..self.size.trailing_ones() {
            let Some(left) = self.frontier.pop() else { break };
            hash = node(&left, &hash);
        }
        self.frontier.push(hash);
        self.size += 1;
    }

    /// The root; of the empty tree, the hash of the empty string.
    pub(super) fn root(&self) -> Hash {
        let mut subtrees = self.frontier.iter().rev();
        let Some(right) = subtrees.next() else {
            return to_hash(digest(&SHA256, &[]).as_ref());
        };
        subtrees.fold(*right, |right, left| node(left, &right))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 6962 §2.1, as it is written there.
    fn naive(leaves: &[Vec<u8>]) -> Hash {
        match leaves {
            [] => sha256(&[]),
            [one] => leaf(one),
            many => {
                let split = many.len().next_power_of_two() / 2;
                node(&naive(&many[..split]), &naive(&many[split..]))
            }
        }
    }

    fn grown(leaves: &[Vec<u8>]) -> Tree {
        let mut tree = Tree::default();
        leaves.iter().for_each(|record| tree.push(leaf(record)));
        tree
    }

    #[test]
    fn the_vectors_of_the_certificate_transparency_code() {
        // The eight leaves and the roots that the reference implementation of RFC 6962 tests itself with.
        let leaves = [
            "",
            "00",
            "10",
            "2021",
            "3031",
            "40414243",
            "5051525354555657",
            "606162636465666768696a6b6c6d6e6f",
        ]
        .map(|text| hex::decode(text).unwrap());
        let roots = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        for (size, root) in roots.iter().enumerate() {
            assert_eq!(hex::encode(grown(&leaves[..size]).root()), *root, "size {size}");
        }
    }

    proptest! {
        #[test]
        fn the_frontier_gives_the_root_of_the_definition(leaves in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..8), 0..200)) {
            let tree = grown(&leaves);
            prop_assert_eq!(tree.root(), naive(&leaves));
            prop_assert_eq!(Tree::of(tree.size(), &tree.frontier()), Some(tree.clone()));
            prop_assert_eq!(Tree::of(tree.size() ^ 1 << 40, &tree.frontier()), None);
        }
    }
}
