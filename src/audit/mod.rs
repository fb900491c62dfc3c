//! The audit log: one for each node, append-only, provable to outsiders.
//!
//! It holds records ([`Record`]), the journal or rows that keep them, the Merkle tree over them and the checkpoints
//! that the audit key in the token signs. It must never hold a secret value, never acknowledge a record that is not
//! durable, never rewrite one that was acknowledged, and never sign a tree over records that are not durable. Checking
//! a log is not done here: the verifier (`cli/verify`) shares no code with this room, so that one error cannot hide
//! another.
//!
//! The way of a record: [`Log::append`] or, for a change, [`crate::store::CommitSink`] puts it into `queue`, whose one
//! thread writes batches into `sink` (`journal` with its `segment`s of `frame`s, or `rows`) and grows the `tree`;
//! `checkpoint` signs the tree as a `note`. A start reads the newest part only (`replay`) and has the rest looked at
//! behind it (`check`); `index` and `reader` find records for readers by their position, `search` by what they say;
//! `forward` gives them, and checkpoints, to others. A new field of a record goes to the end of `record`; a new kind of place
//! for records is a variant in `sink`.

mod check;
mod checkpoint;
mod disk;
mod forward;
mod frame;
mod index;
mod journal;
mod known;
mod log;
mod note;
mod proof;
mod queue;
mod reader;
mod record;
mod replay;
mod repo;
mod rows;
mod search;
mod segment;
mod sink;
mod tree;

use std::path::PathBuf;

use serde::Deserialize;

use crate::error::{Error, Result};

pub use self::forward::{AnchorSettings, Lag, SinkSettings};
pub use self::log::{Entries, Log, Proved};
pub use self::record::{CallerRef, Decision, MAX_RECORD_BYTES, Outcome, Record};
pub use self::search::{Found, Page, Query, Searched};

/// How this node keeps its log.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The journal's folder, on a disk of this node. Without it the records are rows in the store, for nodes that have
    /// no disk.
    pub journal: Option<PathBuf>,
    /// A journal segment ends after so many bytes.
    pub segment_bytes: u64,
    /// How long records may stay without a signed checkpoint, in seconds, before the node reports itself as not ready;
    /// a minute later it refuses.
    pub max_unsigned_s: u64,
    /// How long a caller waits for a record to become durable, in milliseconds.
    pub deadline_ms: u64,
    /// Who else gets this node's records.
    pub sink: Vec<SinkSettings>,
    /// Who else holds its checkpoints.
    pub anchor: Vec<AnchorSettings>,
}

impl Settings {
    /// Checks what is said of sinks and anchors. Reads their keys and roots.
    ///
    /// # Errors
    /// `Invalid`, with the sink's or anchor's name and what is wrong.
    pub fn check(&self) -> Result<()> {
        forward::check(&self.sink)?;
        forward::check_anchors(&self.anchor)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            journal: None,
            segment_bytes: 64 << 20,
            max_unsigned_s: 300,
            deadline_ms: 5_000,
            sink: Vec::new(),
            anchor: Vec::new(),
        }
    }
}

impl Settings {
    /// Whether a log lies in the journal's folder already.
    ///
    /// # Errors
    /// `Unavailable` if the folder cannot be read.
    pub fn is_begun(&self) -> Result<bool> {
        let Some(folder) = self.journal.as_deref().filter(|folder| folder.exists()) else {
            return Ok(false);
        };
        let segments = segment::list(folder).map_err(|e| {
            Error::unavailable(format!("audit journal folder `{}` cannot be read", folder.display())).because(e)
        })?;
        Ok(!segments.is_empty())
    }
}
