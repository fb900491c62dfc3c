//! Reading of records beside the writer, wherever they are kept.

use std::sync::Arc;

use super::index::Index;
use super::repo;
use crate::error::{Error, Result};
use crate::store::Store;

/// Bytes of one answer.
const READ_BYTES: usize = 4 << 20;
/// Rows of one answer.
const READ_ROWS: u64 = 1_000;

/// Where the records are. Cheap to clone.
#[derive(Clone)]
pub(super) enum Reader {
    Journal(Arc<Index>),
    Rows(Store),
}

impl Reader {
    /// Records `from..until` of the node's log, which are durable: as many as one answer holds, at least one.
    ///
    /// # Errors
    /// `Conflict` if one is damaged or missing; `Internal` or `Unavailable` if they cannot be read.
    pub(super) async fn entries(&self, log: &str, from: u64, until: u64) -> Result<Vec<Vec<u8>>> {
        match self {
            _ if from >= until => Ok(Vec::new()),
            Self::Journal(index) => {
                let index = index.clone();
                aside(move || index.read(from, until, READ_BYTES)).await
            }
            Self::Rows(store) => repo::entries(store, log, from, (until - from).min(READ_ROWS)).await,
        }
    }
}

/// Runs what blocks on the disk.
///
/// # Errors
/// Its own, or `Internal` if it was cut short.
pub(super) async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal("reading the audit log was cut short").because(error))?
}
