//! The transaction that a change runs in, and what the change asks for beside its rows.
//!
//! It only collects: the writer commits and carries out. Whatever else a change may say goes here.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sea_orm::DatabaseTransaction;

use super::fresh::Topic;
use super::together::{Parts, Together};
use crate::error::Result;

/// The transaction that a change runs in.
pub struct Tx {
    pub(super) conn: Arc<DatabaseTransaction>,
    pub(super) said: Mutex<Said>,
    /// Whether it runs statements of its own.
    own: AtomicBool,
}

/// What a change asked for beside its rows.
#[derive(Default)]
pub(super) struct Said {
    notes: Vec<(&'static str, String)>,
    pub(super) topics: BTreeSet<Topic>,
    pub(super) records: Vec<(String, Vec<u8>)>,
    pub(super) hooks: Vec<Box<dyn FnOnce() + Send>>,
    pub(super) parts: Parts,
}

impl Said {
    /// Takes over what another change of the same batch asked for.
    pub(super) fn extend(&mut self, other: Self) {
        self.topics.extend(other.topics);
        self.records.extend(other.records);
        self.hooks.extend(other.hooks);
        self.parts.extend(other.parts);
    }
}

impl Tx {
    pub(super) fn new(conn: Arc<DatabaseTransaction>) -> Self {
        Self {
            conn,
            said: Mutex::default(),
            own: AtomicBool::new(false),
        }
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection to run statements on.
    pub fn conn(&self) -> &DatabaseTransaction {
        self.own.store(true, Ordering::Relaxed);
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

    /// Adds a part to a statement that the changes of the batch share. It runs behind this change's own statements.
    pub fn together<P: Together>(&self, part: P) {
        self.said().parts.add(part);
    }

    /// INVARIANT: whether its parts may wait for those of other changes. The shared statements run behind everything, so a
    /// change that has nothing else stands behind everything, whole. One that also read or wrote by itself must not be
    /// torn: another change between its two halves would see the one and not the other.
    pub(super) fn may_share(&self) -> bool {
        !self.own.load(Ordering::Relaxed)
    }

    /// Runs the statements that this change would share with others.
    pub(super) async fn write_alone(&self) -> Result<()> {
        let parts = std::mem::take(&mut self.said().parts);
        parts.write(&self.conn).await
    }
}
