//! The audit log as it is read from outside.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::rfc3339;
use crate::clock::Timestamp;
use crate::error::{Error, Result};

/// The answering node's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLog {
    /// Its origin line (C2SP tlog-checkpoint), for example `chancery.test/audit/n1`.
    pub origin: String,
    /// The key that signs its checkpoints, as a C2SP verifier key. What this answer says proves nothing: pin the key
    /// from another source.
    pub verifier_key: String,
    /// How many records it has.
    pub size: u64,
}

/// Which records to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntriesQuery {
    /// The index of the first, from 0.
    #[serde(default)]
    pub from: u64,
    /// How many at most; the server's limit if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
}

/// Consecutive records. Fewer than asked for, or none, means that the log's end or the server's limit was met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntries {
    /// The index of the first.
    pub from: u64,
    /// Each record's exact bytes (the tree's leaf), in base64.
    pub entries: Vec<String>,
}

impl AuditEntries {
    /// An answer that carries exactly these records.
    pub fn new<B: AsRef<[u8]>>(from: u64, records: &[B]) -> Self {
        Self {
            from,
            entries: records.iter().map(|record| BASE64.encode(record)).collect(),
        }
    }

    /// The records' bytes.
    ///
    /// # Errors
    /// `Invalid` if one is not base64.
    pub fn records(&self) -> Result<Vec<Vec<u8>>> {
        self.entries
            .iter()
            .zip(self.from..)
            .map(|(entry, index)| {
                BASE64
                    .decode(entry)
                    .map_err(|e| Error::invalid(format!("record {index} of the answer is not base64")).because(e))
            })
            .collect()
    }
}

/// Which checkpoint to answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointQuery {
    /// Sign one now that covers every record so far, instead of answering the newest.
    #[serde(default)]
    pub fresh: bool,
}

/// Whose index to make anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RebuildIndex {
    /// The node whose log it is; the answering one's if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// What is made anew from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexRebuild {
    /// The node whose log it is.
    pub node: String,
}

/// What to prove, by one of the three.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofQuery {
    /// The record at this index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// The node whose log it is; the answering one's if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The record with this id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// That so many records, which an older checkpoint covered, are the log's beginning still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
}

/// Which records to search for: those that fit everything that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchQuery {
    /// What was asked, for example `ReadSecret`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Who asked: a SPIFFE ID, or `system:<name>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// The `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// What was decided: `allow` or `deny`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    /// How many at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// The node whose log it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// How it ended: `denied`, `done`, `failed`, `intent` or `unknown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// The record's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// The request's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// On what, exactly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// How the resource's path begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_prefix: Option<String>,
    /// The serial of the caller's certificate, or of the one that it is about, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Not before this moment.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// The trace-id that requests brought (W3C Trace Context).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// Before this moment.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// What was found, the newest first. A page with fewer items than asked for, or none, goes on all the same if it has a
/// `next`: a search looks at a bounded number of records at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundRecords {
    /// The records; of one log in its order, between logs by their times.
    pub items: Vec<FoundRecord>,
    /// The cursor of the next page; none at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Which logs there are, and how far each was searched.
    pub logs: Vec<SearchedLog>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundRecord {
    /// Whose log it is in.
    pub node: String,
    /// Its index there.
    pub index: u64,
    /// The record as it lies in the log: this text's bytes are the tree's leaf.
    pub record: String,
}

/// A log that was searched, or could not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchedLog {
    /// Whose it is.
    pub node: String,
    /// How many records it has.
    pub size: u64,
    /// How many of them the index holds, from the first on; those behind were looked through. None: the records lie on
    /// the node's own disk, so that they can be searched there only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub indexed: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_byte_for_byte() {
        let records: [&[u8]; 3] = [b"{}", b"", b"\xff\n"];
        let answer = AuditEntries::new(7, &records);
        assert_eq!(answer.records().unwrap(), records);
        let broken = AuditEntries {
            from: 7,
            entries: vec!["e30=".into(), "%".into()],
        };
        assert!(broken.records().unwrap_err().public().contains("record 8"));
    }
}
