//! What the verifier remembers of records: the hash of each, its id, and which intents are open.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::tree::{self, Hash};
use super::{Finding, OpenIntent};
use crate::id::Id;

/// The records seen so far.
#[derive(Default)]
pub(super) struct Ledger {
    pub(super) hashes: Vec<Hash>,
    ids: Vec<Option<Id>>,
    open: BTreeMap<Id, OpenIntent>,
    /// The first record that is not one.
    unreadable: Option<u64>,
}

/// The fields that the verifier looks at.
#[derive(Deserialize)]
struct Read {
    v: u32,
    id: String,
    time: String,
    action: String,
    resource: String,
    outcome: String,
    closes: Option<String>,
}

impl Ledger {
    /// Adds the next record.
    pub(super) fn push(&mut self, record: &[u8]) {
        let index = self.size();
        self.hashes.push(tree::leaf_hash(record));
        let read: Option<Read> = serde_json::from_slice(record).ok().filter(|read: &Read| read.v == 1);
        let id: Option<Id> = read.as_ref().and_then(|read| read.id.parse().ok());
        self.ids.push(id);
        let (Some(read), Some(id)) = (read, id) else {
            self.unreadable.get_or_insert(index);
            return;
        };
        if let Some(closed) = read.closes.and_then(|id| id.parse().ok()) {
            // An intent that another node began is in that node's log.
            self.open.remove(&closed);
        }
        if read.outcome == "intent" {
            self.open.insert(
                id,
                OpenIntent {
                    record: index,
                    id: id.to_string(),
                    time: read.time,
                    action: read.action,
                    resource: read.resource,
                },
            );
        }
    }

    pub(super) fn size(&self) -> u64 {
        u64::try_from(self.hashes.len()).unwrap_or(u64::MAX)
    }

    /// `record 7 (id 4f..)`.
    pub(super) fn name(&self, index: usize) -> String {
        match self.ids.get(index) {
            Some(Some(id)) => format!("record {index} (id {id})"),
            _ => format!("record {index}"),
        }
    }

    /// Intents of the first `size` records that no record closes.
    pub(super) fn open_intents(&self, size: u64) -> Vec<OpenIntent> {
        let mut open: Vec<_> = self
            .open
            .values()
            .filter(|intent| intent.record < size)
            .cloned()
            .collect();
        open.sort_by_key(|intent| intent.record);
        open
    }

    /// Whether every record is one, and none stands there twice.
    pub(super) fn check(&self) -> Result<(), Finding> {
        if let Some(index) = self.unreadable {
            return Err(Finding::new(
                Some(index),
                format!("record {index} is not an audit record of a kind that this program knows"),
            ));
        }
        let mut ids: Vec<_> = self
            .ids
            .iter()
            .zip(0_u64..)
            .filter_map(|(id, index)| Some((*id.as_ref()?, index)))
            .collect();
        ids.sort_unstable();
        let twice = ids
            .iter()
            .zip(ids.iter().skip(1))
            .filter(|((one, _), (other, _))| one == other)
            .min_by_key(|(_, (_, index))| *index);
        match twice {
            Some(((id, first), (_, second))) => Err(Finding::new(
                Some(*second),
                format!("record {second} has the id {id} of record {first}: it is there twice"),
            )),
            None => Ok(()),
        }
    }
}
