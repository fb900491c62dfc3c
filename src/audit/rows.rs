//! The sink of a node without a disk of its own: one multi-row insert a batch.
//!
//! INVARIANT: (log, index) is the rows' key, so a second writer of the same log fails instead of weaving its records in.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::repo;
use super::tree::{self, Tree};
use crate::error::{Error, Result};
use crate::fault;
use crate::store::Store;

/// Rows read at a time when a log is read whole.
const PAGE: u64 = 2_000;

/// The rows of one log. Used by the writer thread, which is no thread of the runtime.
pub(super) struct Rows {
    store: Store,
    runtime: Handle,
    /// A batch of which it is not known whether it was committed.
    doubtful: Option<Arc<[Vec<u8>]>>,
}

impl Rows {
    /// The log of the store's node, read from its start: `visit` sees each record with the tree before it. Returns the
    /// tree over all.
    ///
    /// # Errors
    /// `Internal` if a row is missing, `Unavailable` if the store does not answer.
    pub(super) async fn open(store: &Store, visit: &mut dyn FnMut(&Tree, &[u8])) -> Result<(Self, Tree)> {
        let mut tree = Tree::default();
        loop {
            let rows = repo::entries(store, tree.size(), PAGE).await?;
            if rows.is_empty() {
                break;
            }
            for (index, record) in rows {
                if index != tree.size() {
                    return Err(Error::internal(format!(
                        "audit record {} of node `{}` is missing from table audit_entry: restore the table",
                        tree.size(),
                        store.node()
                    )));
                }
                visit(&tree, &record);
                tree.push(tree::leaf(&record));
            }
        }
        let rows = Self {
            store: store.clone(),
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
            .block_on(repo::insert_entries(&self.store, first, records))
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
        let unusable = |error: Error| format!("the audit log's rows cannot be read: {}", error.detail());
        let (_, found) = self
            .runtime
            .block_on(Self::open(&self.store, &mut |_, _| {}))
            .map_err(unusable)?;
        let mut with_batch = tree.clone();
        batch.iter().for_each(|record| with_batch.push(tree::leaf(record)));
        if found == with_batch {
            self.runtime
                .block_on(repo::delete_entries(&self.store, tree.size()))
                .map_err(unusable)?;
        } else if found != *tree {
            return Err(format!(
                "the rows of audit log `{}` are not what was written: stop the other process that calls itself so, or \
                 restore table audit_entry",
                self.store.node()
            ));
        }
        self.doubtful = None;
        Ok(())
    }
}
