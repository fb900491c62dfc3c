//! Making an index anew while it is used: stretch by stretch over what is there, so that searches and proofs miss nothing
//! meanwhile. How far it has come is in the store, so that a restart goes on there.

use std::sync::atomic::Ordering;

use super::postings::CHUNK;
use super::{Search, repo};
use crate::audit::reader::Reader;
use crate::error::{Error, Result};

/// When nothing is made anew.
pub(super) const NONE: u64 = u64::MAX;

impl Search {
    /// The log that is meant by `node`, this node's if it is left out, if its index can be made anew here.
    ///
    /// # Errors
    /// `NotFound` if its records do not lie here.
    pub(in crate::audit) async fn rebuildable(&self, node: Option<&str>) -> Result<String> {
        let node = node.unwrap_or_else(|| self.node());
        let is_here = match self.reader() {
            _ if node == self.node() => true,
            Reader::Journal(_) => false,
            Reader::Rows(_) => self
                .logs()
                .await?
                .iter()
                .any(|log| log.node == node && log.indexed.is_some()),
        };
        is_here
            .then(|| node.to_owned())
            .ok_or_else(|| Error::not_found(format!("the records of a node `{node}` do not lie here: ask that node")))
    }

    /// Goes on with what was asked for.
    pub(in crate::audit) fn wake(&self) {
        self.rebuild.notify_one();
    }

    /// Notes how many stretches of this node's log there are, and which is made anew next.
    pub(super) fn tell(&self, next: u64, again: Option<u64>) {
        self.next.store(next, Ordering::Release);
        self.again.store(again.unwrap_or(NONE), Ordering::Release);
    }

    /// How many records of this node's log the index lacks, and how many are to be made anew.
    pub(in crate::audit) fn lag(&self) -> (u64, u64) {
        let next = self.next.load(Ordering::Acquire);
        let lacks = self.durable.borrow().size().saturating_sub(next * CHUNK);
        let left = match self.again.load(Ordering::Acquire) {
            NONE => 0,
            again => next.saturating_sub(again) * CHUNK,
        };
        (lacks, left)
    }

    /// Which stretch of a log is to be made anew next.
    pub(super) async fn rebuilding(&self, log: &str) -> Result<Option<u64>> {
        repo::rebuilding(&self.store, log).await
    }

    /// Makes stretch `chunk` of the `count` that there are anew; which one comes next.
    pub(super) async fn remake(&self, log: &str, chunk: u64, count: u64) -> Result<Option<u64>> {
        if chunk < count {
            self.fill(log, chunk, true).await?;
        }
        let next = Some(chunk.saturating_add(1)).filter(|next| *next < count);
        // CRASH: what was made anew is made so once more.
        match repo::advance(&self.store, log, chunk, next).await? {
            true if next.is_none() => tracing::info!("the index of audit log `{log}` is made anew"),
            true => {}
            // It was asked for again meanwhile, or another node does it too.
            false => return self.rebuilding(log).await,
        }
        Ok(next)
    }
}
