//! Proofs that came as files: judged by the algorithms of RFC 9162 §2.1.3.2 and §2.1.4.2, against a public key alone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Finding;
use super::note::{Checkpoint, Key};
use super::tree::{self, Hash};

/// The first line of an inclusion proof (c2sp.org/tlog-proof).
const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// What a proof proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proven {
    /// That a record is in a log.
    Included {
        /// The log's name.
        origin: String,
        /// The record's index.
        index: u64,
        /// How many records the checkpoint covers.
        size: u64,
        /// The record.
        record: Vec<u8>,
    },
    /// That a log only grew.
    Grown {
        /// The log's name.
        origin: String,
        /// How many records the older checkpoint covers.
        from: u64,
        /// How many the newer one covers.
        size: u64,
    },
}

/// Judges the proof `text` by `key` (a C2SP vkey), which must come from elsewhere. `since` is the older checkpoint that
/// a proof of growth begins with, or holds it among others.
///
/// # Errors
/// What is wrong.
pub fn verify_proof(text: &str, key: &str, since: Option<&str>) -> Result<Proven, Finding> {
    let key = Key::parse(key)?;
    let (head, note) = text
        .split_once("\n\n")
        .ok_or_else(|| wrong("is none: it has no checkpoint"))?;
    let mut lines = head.lines();
    let first = lines.next().unwrap_or_default();
    let checkpoint = key.open(note, "the proof's checkpoint")?;
    if first == HEADER {
        return included(lines, &key, &checkpoint);
    }
    let Some(from) = first.strip_prefix("old ").and_then(number) else {
        return Err(wrong(
            "is none: its first line is neither of a C2SP tlog-proof nor `old <size>`",
        ));
    };
    let Some(since) = since else {
        return Err(wrong("is of a log's growth: give the older checkpoint with --since"));
    };
    let mut known = super::older(&key, since)?;
    let last = known
        .pop()
        .ok_or_else(|| wrong("is of a log's growth: give the older checkpoint with --since"))?;
    let older = known.into_iter().find(|known| known.size == from).unwrap_or(last);
    if older.size != from {
        return Err(wrong(&format!(
            "begins with {from} records, but the older checkpoint covers {}",
            older.size
        )));
    }
    let path = lines.map(hash).collect::<Option<Vec<_>>>();
    let path = path.ok_or_else(|| wrong("has a line that is no hash"))?;
    if !grew(&older, &checkpoint, &path) {
        return Err(wrong(
            "does not hold: the newer checkpoint's log does not begin with the older one's records",
        ));
    }
    Ok(Proven::Grown {
        origin: key.name().to_owned(),
        from,
        size: checkpoint.size,
    })
}

fn included<'a>(
    mut lines: impl Iterator<Item = &'a str>,
    key: &Key,
    checkpoint: &Checkpoint,
) -> Result<Proven, Finding> {
    let record = lines
        .next()
        .and_then(|line| line.strip_prefix("extra "))
        .and_then(|extra| STANDARD.decode(extra).ok())
        .ok_or_else(|| wrong("has no record: its second line is not `extra` and base64"))?;
    let index = lines
        .next()
        .and_then(|line| line.strip_prefix("index "))
        .and_then(number)
        .ok_or_else(|| wrong("has no index"))?;
    let path = lines.map(hash).collect::<Option<Vec<_>>>();
    let path = path.ok_or_else(|| wrong("has a line that is no hash"))?;
    if climbed(tree::leaf_hash(&record), index, checkpoint.size, &path) != Some(checkpoint.root) {
        return Err(Finding::new(
            Some(index),
            format!("the proof does not hold: its record is not record {index} of what was signed"),
        ));
    }
    Ok(Proven::Included {
        origin: key.name().to_owned(),
        index,
        size: checkpoint.size,
        record,
    })
}

/// RFC 9162 §2.1.3.2: the root that a leaf's path leads to.
fn climbed(leaf: Hash, index: u64, size: u64, path: &[Hash]) -> Option<Hash> {
    if index >= size {
        return None;
    }
    let (mut node, mut last, mut root) = (index, size - 1, leaf);
    for sibling in path {
        if last == 0 {
            return None;
        }
        if node & 1 == 1 || node == last {
            root = tree::pair_hash(sibling, &root);
            while node & 1 == 0 && node != 0 {
                (node, last) = (node >> 1, last >> 1);
            }
        } else {
            root = tree::pair_hash(&root, sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    (last == 0).then_some(root)
}

/// RFC 9162 §2.1.4.2: whether the path leads from the older root to the newer.
fn grew(older: &Checkpoint, newer: &Checkpoint, path: &[Hash]) -> bool {
    if older.size == 0 {
        return path.is_empty() && older.root == tree::root(&[]);
    }
    if older.size >= newer.size {
        return path.is_empty() && older.size == newer.size && older.root == newer.root;
    }
    // The old tree's own root begins the path where it is a whole part of the new one.
    let whole = older.size.is_power_of_two().then_some(older.root);
    let mut hashes = whole.into_iter().chain(path.iter().copied());
    let Some(first) = hashes.next() else { return false };
    let (mut node, mut last) = (older.size - 1, newer.size - 1);
    while node & 1 == 1 {
        (node, last) = (node >> 1, last >> 1);
    }
    let (mut old_root, mut new_root) = (first, first);
    for sibling in hashes {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            old_root = tree::pair_hash(&sibling, &old_root);
            new_root = tree::pair_hash(&sibling, &new_root);
            while node & 1 == 0 && node != 0 {
                (node, last) = (node >> 1, last >> 1);
            }
        } else {
            new_root = tree::pair_hash(&new_root, &sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    last == 0 && old_root == older.root && new_root == newer.root
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

fn hash(line: &str) -> Option<Hash> {
    STANDARD.decode(line).ok()?.try_into().ok()
}

fn wrong(why: &str) -> Finding {
    Finding::new(None, format!("the proof {why}"))
}
