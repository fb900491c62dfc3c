//! The transaction that a change runs in, and what the change asks for beside its rows.
//!
//! It only collects: the writer commits and carries out. Whatever else a change may say goes here.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sea_orm::DatabaseTransaction;

use super::fresh::Topic;
use super::intent::OpenIntent;
use crate::clock::Timestamp;

/// The transaction that a change runs in.
pub struct Tx {
    pub(super) conn: Arc<DatabaseTransaction>,
    pub(super) said: Mutex<Said>,
}

/// What a change asked for beside its rows.
#[derive(Default)]
pub(super) struct Said {
    notes: Vec<(&'static str, String)>,
    pub(super) topics: BTreeSet<Topic>,
    pub(super) records: Vec<(String, Vec<u8>)>,
    pub(super) hooks: Vec<Box<dyn FnOnce() + Send>>,
    pub(super) opened: Vec<(OpenIntent, Timestamp)>,
    pub(super) closed: Vec<String>,
}

impl Said {
    /// Takes over what another change of the same batch asked for.
    pub(super) fn extend(&mut self, other: Self) {
        self.topics.extend(other.topics);
        self.records.extend(other.records);
        self.hooks.extend(other.hooks);
        self.opened.extend(other.opened);
        self.closed.extend(other.closed);
    }
}

impl Tx {
    pub(super) fn new(conn: Arc<DatabaseTransaction>) -> Self {
        Self {
            conn,
            said: Mutex::default(),
        }
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection to run statements on.
    pub fn conn(&self) -> &DatabaseTransaction {
        &self.conn
    }

    /// Adds a detail to the audit record of this change.
    pub fn note(&self, key: &'static str, value: impl Into<String>) {
        self.said().notes.push((key, value.into()));
    }

    /// Takes the details noted so far; the gate does when it writes the record.
    pub fn take_notes(&self) -> Vec<(&'static str, String)> {
        std::mem::take(&mut self.said().notes)
    }

    /// Tells other nodes that rows under `topic` changed.
    pub fn touch(&self, topic: Topic) {
        self.said().topics.insert(topic);
    }

    /// Runs `hook` right after the commit, before any caller is answered: this node's caches are dropped here.
    pub fn on_commit(&self, hook: impl FnOnce() + Send + 'static) {
        self.said().hooks.push(Box::new(hook));
    }

    /// Commits an audit record with this change.
    pub fn record(&self, id: String, bytes: Vec<u8>) {
        self.said().records.push((id, bytes));
    }

    /// Notes that the act whose intent is recorded as `id` has begun. Its row is written with those of the whole batch.
    pub fn open_intent(&self, id: String, record: Vec<u8>, now: Timestamp) {
        self.said().opened.push((OpenIntent { id, record }, now));
    }

    /// Notes that the act has an outcome.
    pub fn close_intent(&self, id: String) {
        self.said().closed.push(id);
    }
}
