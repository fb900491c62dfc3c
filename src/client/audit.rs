//! The native API's audit log.

use reqwest::Method;

use super::{Client, Error, Kind, Result};
use crate::wire::{self, paths};

/// No query.
const NONE: &[(); 0] = &[];

/// The audit log.
impl Client {
    /// The log's name, key and size.
    pub async fn audit_log(&self) -> Result<wire::AuditLog> {
        self.get(paths::route::AUDIT_LOG, NONE).await
    }

    /// The exact bytes of the records from index `from` on, `max` at most; fewer where the server's limit is met, none
    /// at the log's end.
    pub async fn audit_entries(&self, from: u64, max: Option<u32>) -> Result<Vec<Vec<u8>>> {
        let query = wire::EntriesQuery { from, max };
        let entries: wire::AuditEntries = self.get(paths::route::AUDIT_ENTRIES, &query).await?;
        if entries.from != from {
            return Err(Error::new(
                Kind::Protocol,
                format!("the service answered records from {} on, not from {from}", entries.from),
            ));
        }
        entries
            .records()
            .map_err(|e| Error::new(Kind::Protocol, e.public().to_owned()))
    }

    /// One page of the records that fit.
    pub async fn search_audit(&self, query: &wire::SearchQuery) -> Result<wire::FoundRecords> {
        self.get(paths::route::AUDIT_RECORDS, query).await
    }

    /// Has the index over a node's log made anew, the answering node's if it is left out.
    pub async fn rebuild_audit_index(&self, rebuild: &wire::RebuildIndex) -> Result<wire::IndexRebuild> {
        self.change(Method::POST, paths::route::AUDIT_INDEX_REBUILD, rebuild)
            .await
    }

    /// A proof as a file.
    pub async fn audit_proof(&self, query: &wire::ProofQuery) -> Result<String> {
        self.get_text(paths::route::AUDIT_PROOF, query).await
    }

    /// The newest signed checkpoint, or with `fresh` one that covers every record so far (C2SP signed note).
    pub async fn audit_checkpoint(&self, fresh: bool) -> Result<String> {
        self.get_text(paths::route::AUDIT_CHECKPOINT, &wire::CheckpointQuery { fresh })
            .await
    }
}
