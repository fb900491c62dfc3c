//! The sink of a node without a disk of its own: one multi-row insert a batch.
//!
//! INVARIANT: (log, index) is the rows' key, so a second writer of the same log fails instead of weaving its records in;
//! and the older of two fails first, since the register names the one that opened the log last.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::repo::{self, Epoch};
use super::tree::{self, Tree};
use crate::error::{Error, Result};
use crate::fault;
use crate::store::Store;

/// Rows read at a time when many are read.
const PAGE: u64 = 2_000;

/// The rows of one log. Used by the writer thread, which is no thread of the runtime.
pub(super) struct Rows {
    store: Store,
    epoch: Epoch,
    runtime: Handle,
    /// A batch of which it is not known whether it was committed.
    doubtful: Option<Arc<[Vec<u8>]>>,
}

impl Rows {
    /// The log of the store's node, of which `known` is the tree of its signed beginning, read from record `from` on, or
    /// from the end of that beginning if that comes first: `visit` sees each record, those behind the beginning with
    /// the tree before them. Returns the tree over all.
    ///
    /// # Errors
    /// `Conflict` if a row is missing, `Unavailable` if the store does not answer.
    pub(super) async fn open(
        store: &Store,
        epoch: Epoch,
        known: Tree,
        from: u64,
        visit: &mut (dyn FnMut(&Tree, &[u8]) + Send),
    ) -> Result<(Self, Tree)> {
        let mut tree = known;
        // The last of the signed ones is looked at: it must be there.
        let mut next = from.min(tree.size().saturating_sub(1));
        loop {
            let rows = repo::entries(store, store.node().as_str(), next, PAGE).await?;
            if rows.is_empty() {
                break;
            }
            for record in rows {
                visit(&tree, &record);
                if next == tree.size() {
                    tree.push(tree::leaf(&record));
                }
                next += 1;
            }
        }
        if next < tree.size() {
            return Err(Error::conflict(format!(
                "audit record {next} of node `{}` is missing from table audit_entry, but the signed checkpoint covers {}: \
                 restore the table",
                store.node(),
                tree.size()
            )));
        }
        let rows = Self {
            store: store.clone(),
            epoch,
            runtime: Handle::current(),
            doubtful: None,
        };
        Ok((rows, tree))
    }

    pub(super) fn append(&mut self, first: u64, records: &[&[u8]]) -> Result<(), String> {
        let records: Arc<[Vec<u8>]> = records.iter().map(|record| record.to_vec()).collect();
        self.doubtful = Some(records.clone());
        fault::point("audit.write.before");
        self.runtime
            .block_on(repo::insert_entries(&self.store, self.epoch, first, records))
            .map_err(|error| format!("the audit log's rows cannot be written: {}", error.detail()))?;
        fault::point("audit.write.after");
        self.doubtful = None;
        Ok(())
    }

    /// After a failure: takes the batch that failed away again, if it was committed all the same. Nothing to do
    /// otherwise.
    ///
    /// INVARIANT: only rows that hold exactly that batch are deleted. Others are another process's, acknowledged by it.
    pub(super) fn recover(&mut self, tree: &Tree) -> Result<(), String> {
        let Some(batch) = &self.doubtful else { return Ok(()) };
        let taken_back = self
            .runtime
            .block_on(repo::take_back(&self.store, self.epoch, tree.size(), batch.clone()))
            .map_err(|error| format!("the audit log's rows cannot be written: {}", error.detail()))?;
        if !taken_back {
            return Err(format!(
                "the rows of audit log `{}` are not what was written: restore table audit_entry",
                self.store.node()
            ));
        }
        self.doubtful = None;
        Ok(())
    }
}

/// The rows that a start did not read, and the tree over them.
pub(super) struct Older {
    pub(super) store: Store,
    pub(super) tree: Tree,
}

impl Older {
    /// Reads them all and compares: `visit` sees each record, and says whether to go on.
    ///
    /// # Errors
    /// `Conflict` if one is missing, `Internal` if they are not those that were signed, `Unavailable` if the store does
    /// not answer.
    pub(super) async fn check(&self, visit: &mut (dyn FnMut(&[u8]) -> bool + Send)) -> Result<()> {
        let mut tree = Tree::default();
        while tree.size() < self.tree.size() {
            let left = PAGE.min(self.tree.size() - tree.size());
            let rows = repo::entries(&self.store, self.store.node().as_str(), tree.size(), left).await?;
            if rows.is_empty() {
                break;
            }
            for record in rows {
                if !visit(&record) {
                    return Ok(());
                }
                tree.push(tree::leaf(&record));
            }
        }
        if tree == self.tree {
            return Ok(());
        }
        Err(Error::internal(format!(
            "the first {} records of node `{}` in table audit_entry are not those that were signed: restore the table",
            self.tree.size(),
            self.store.node()
        )))
    }
}
