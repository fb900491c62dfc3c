//! The audit log as it is read from outside.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

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
