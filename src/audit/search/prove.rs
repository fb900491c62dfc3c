//! Proofs, from the index's roots and the records themselves.
//!
//! What the index says is believed only if it gives the root that the audit key signed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::postings::CHUNK;
use super::{Query, Search, fill};
use crate::audit::note;
use crate::audit::proof;
use crate::audit::repo;
use crate::audit::tree::{self, Hash, Tree};
use crate::error::{Error, Result};
use crate::id::Id;

/// Stretches that are read for one proof.
const READS: usize = 64;

/// The hashes of a log's beginning, as far as a proof needs them.
struct Hashes {
    /// Of each stretch that the index holds.
    roots: Vec<Hash>,
    /// Of each record of some stretches.
    leaves: BTreeMap<u64, Vec<Hash>>,
}

impl Search {
    /// Where the record with this id is: whose log, and at which index.
    ///
    /// # Errors
    /// `NotFound` if there is none in any log that can be read here; as [`Self::page`].
    pub(in crate::audit) async fn find(&self, record: Id, node: Option<&str>) -> Result<(String, u64)> {
        let query = Query {
            node: node.map(str::to_owned),
            record: Some(record),
            ..Query::default()
        };
        let mut cursor = None;
        loop {
            let page = self.page(&query, cursor.as_deref(), 1).await?;
            if let Some(found) = page.records.into_iter().next() {
                // The index may be wrong about the place, not about the record.
                let there = self.stretch(&found.node, found.index, found.index + 1).await?;
                if there.first() != Some(&found.record) {
                    self.anew.notify_one();
                    return Err(fill::damaged());
                }
                return Ok((found.node, found.index));
            }
            if page.next.is_none() {
                return Err(Error::not_found(format!(
                    "no audit log that lies here has a record {record}"
                )));
            }
            cursor = page.next;
        }
    }

    /// The newest checkpoint of another node's log, whose records lie here too.
    ///
    /// # Errors
    /// `NotFound` if there is no such log here.
    pub(in crate::audit) async fn checkpoint_of(&self, node: &str) -> Result<Arc<str>> {
        let here = self
            .logs()
            .await?
            .into_iter()
            .any(|log| log.node == node && log.indexed.is_some());
        let checkpoint = if here {
            repo::checkpoint(&self.store, node).await?
        } else {
            None
        };
        checkpoint
            .map(Arc::from)
            .ok_or_else(|| Error::not_found(format!("no signed log of a node `{node}` lies here: ask that node")))
    }

    /// The file that proves record `index` of a log to be in what `checkpoint` covers.
    ///
    /// # Errors
    /// `NotFound` if it is not in it; `Unavailable` if the index has not come far enough; as reading records.
    pub(in crate::audit) async fn inclusion(&self, log: &str, index: u64, checkpoint: &str) -> Result<String> {
        let (size, root) = claims(checkpoint)?;
        if index >= size {
            return Err(Error::not_found(format!(
                "record {index} of node `{log}` is not signed: its newest checkpoint covers {size} records"
            )));
        }
        let hashes = self.hashes(log, (size, root), index).await?;
        let record = self.stretch(log, index, index + 1).await?;
        let path = proof::inclusion(index, size, &|from, until| hashes.root(from, until));
        match (record.first(), path) {
            (Some(record), Some(path)) => Ok(proof::inclusion_text(index, record, &path, checkpoint)),
            _ => Err(fill::damaged()),
        }
    }

    /// The file that proves the first `old` records of a log to be the beginning of what `checkpoint` covers.
    ///
    /// # Errors
    /// `Conflict` if it covers fewer; otherwise as [`Self::inclusion`].
    pub(in crate::audit) async fn consistency(&self, log: &str, old: u64, checkpoint: &str) -> Result<String> {
        let (size, root) = claims(checkpoint)?;
        if old > size {
            return Err(Error::conflict(format!(
                "the log of node `{log}` was rolled back, or the older checkpoint is of another log: its newest \
                 checkpoint covers {size} records, not {old}"
            )));
        }
        let hashes = self.hashes(log, (size, root), old.saturating_sub(1)).await?;
        let path = proof::consistency(old, size, &|from, until| hashes.root(from, until));
        let path = path.ok_or_else(fill::damaged)?;
        Ok(proof::consistency_text(old, &path, checkpoint))
    }

    /// The hashes of the first `size` records, whose root is known, one by one around `near`.
    async fn hashes(&self, log: &str, (size, root): (u64, Hash), near: u64) -> Result<Hashes> {
        let held = self.indexed(log, size).await? / CHUNK;
        let roots = self.place.roots(log, held).await?;
        let roots: Vec<Hash> = roots.into_iter().map_while(|root| root.try_into().ok()).collect();
        let held = u64::try_from(roots.len()).unwrap_or(0);
        let mut wanted: BTreeSet<_> = (held..size.div_ceil(CHUNK)).collect();
        if size > 0 {
            wanted.insert(near / CHUNK);
        }
        if wanted.len() > READS {
            return Err(Error::unavailable(
                "the index of the audit log has not come to these records yet: try again in a while",
            ));
        }
        let mut leaves = BTreeMap::new();
        for chunk in wanted {
            let records = self.stretch(log, chunk * CHUNK, size.min((chunk + 1) * CHUNK)).await?;
            leaves.insert(chunk, records.iter().map(|record| tree::leaf(record)).collect());
        }
        let hashes = Hashes { roots, leaves };
        let found = match size {
            0 => Some(Tree::default().root()),
            _ => hashes.root(0, size),
        };
        if found != Some(root) {
            self.anew.notify_one();
            return Err(Error::unavailable(
                "the index of the audit log, or the log itself, does not give the root that was signed; the index is made \
                 anew: try again in a while, and if that fails, verify the log",
            ));
        }
        Ok(hashes)
    }
}

impl Hashes {
    fn root(&self, from: u64, until: u64) -> Option<Hash> {
        proof::root(from, until, &|from, until| self.part(from, until))
    }

    /// The root of a part that lies within one stretch.
    fn part(&self, from: u64, until: u64) -> Option<Hash> {
        let chunk = from / CHUNK;
        let base = chunk * CHUNK;
        if until > base + CHUNK {
            return None;
        }
        if let Some(leaves) = self.leaves.get(&chunk) {
            let range = usize::try_from(from - base).ok()?..usize::try_from(until - base).ok()?;
            let mut tree = Tree::default();
            leaves.get(range)?.iter().for_each(|leaf| tree.push(*leaf));
            return Some(tree.root());
        }
        let whole = from == base && until == base + CHUNK;
        whole.then(|| self.roots.get(usize::try_from(chunk).ok()?).copied())?
    }
}

/// Size and root that a checkpoint of ours claims.
fn claims(checkpoint: &str) -> Result<(u64, Hash)> {
    note::claims(checkpoint)
        .ok_or_else(|| Error::unavailable("there is no signed checkpoint yet: try again in a while"))
}
