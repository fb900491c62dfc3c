//! How nodes that share a PostgreSQL database see each other's changes.
//!
//! Each node counts its commits per topic in rows of its own, so that nodes never wait for each other. A reader sums
//! the other nodes' rows: the sum grows with every commit of theirs, so an unchanged sum proves that a cache is good.
//! Because the question is asked per request, and answered by a query that starts after it, nothing has to be told to
//! anybody and no notification can be lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sea_orm::{ColumnTrait, DatabaseConnection, EntityTrait, QueryFilter};
use tokio::sync::{mpsc, oneshot};

use super::entity::change_counter;
use super::error::StoreError;
use crate::error::Result;
use crate::id::Label;

/// A group of rows whose changes drop the same caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Keys and states of ACME accounts.
    Accounts,
    /// Authorities, issuers, what was revoked and who is disabled.
    Authorities,
    /// Certificate objects and renewals.
    Certificates,
    /// Identities and join tokens.
    Identities,
    /// Keys in vaults.
    Keys,
    /// Role assignments.
    Policy,
    /// Vaults and secrets.
    Secrets,
}

impl Topic {
    pub(super) const ALL: [Self; 7] = [
        Self::Accounts,
        Self::Authorities,
        Self::Certificates,
        Self::Identities,
        Self::Keys,
        Self::Policy,
        Self::Secrets,
    ];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Accounts => "accounts",
            Self::Authorities => "authorities",
            Self::Certificates => "certificates",
            Self::Identities => "identities",
            Self::Keys => "keys",
            Self::Policy => "policy",
            Self::Secrets => "secrets",
        }
    }
}

/// The other nodes' counters, one per topic in the order of [`Topic::ALL`].
type Sums = [u64; Topic::ALL.len()];

type Question = oneshot::Sender<Result<Sums>>;

pub(super) struct Fresh {
    /// `None` on SQLite.
    questions: Option<mpsc::UnboundedSender<Question>>,
    doubts: Doubts,
}

/// How often this node could not tell whether it had committed. What such a commit changed was told to no cache, so each
/// doubt is a new generation of every topic.
#[derive(Clone, Default)]
pub(super) struct Doubts(Arc<Doubt>);

#[derive(Default)]
struct Doubt {
    generations: AtomicU64,
    open: AtomicBool,
}

impl Doubts {
    /// From here on no answer is good for longer than the question: the commit may come at any moment.
    pub(super) fn open(&self) {
        self.0.open.store(true, Ordering::SeqCst);
        self.0.generations.fetch_add(1, Ordering::SeqCst);
    }

    /// It came, or never will. What was read meanwhile may be older than it.
    pub(super) fn close(&self) {
        self.0.generations.fetch_add(1, Ordering::SeqCst);
        self.0.open.store(false, Ordering::SeqCst);
    }

    fn generation(&self) -> u64 {
        if self.0.open.load(Ordering::SeqCst) {
            return self.0.generations.fetch_add(1, Ordering::SeqCst).saturating_add(1);
        }
        self.0.generations.load(Ordering::SeqCst)
    }
}

impl Fresh {
    pub(super) fn start(read: &DatabaseConnection, node: &Label, shared: bool) -> Self {
        let doubts = Doubts::default();
        if !shared {
            return Self {
                questions: None,
                doubts,
            };
        }
        let (questions, waiting) = mpsc::unbounded_channel();
        tokio::spawn(answer(read.clone(), node.clone(), waiting));
        Self {
            questions: Some(questions),
            doubts,
        }
    }

    pub(super) fn doubts(&self) -> Doubts {
        self.doubts.clone()
    }

    pub(super) fn is_shared(&self) -> bool {
        self.questions.is_some()
    }

    pub(super) async fn generation(&self, topic: Topic) -> Result<u64> {
        let doubts = self.doubts.generation();
        let Some(questions) = &self.questions else {
            return Ok(doubts);
        };
        let (reply, answer) = oneshot::channel();
        questions.send(reply).map_err(|_| StoreError::Closed)?;
        let sums = answer.await.map_err(|_| StoreError::Closed)??;
        let sum = Topic::ALL
            .iter()
            .zip(sums)
            .find(|(each, _)| **each == topic)
            .map(|(_, sum)| sum);
        Ok(sum.unwrap_or(0).saturating_add(doubts))
    }
}

/// One query at a time answers everybody who asked before it began.
async fn answer(read: DatabaseConnection, node: Label, mut waiting: mpsc::UnboundedReceiver<Question>) {
    while let Some(first) = waiting.recv().await {
        let mut callers = vec![first];
        while let Ok(next) = waiting.try_recv() {
            callers.push(next);
        }
        let rows = change_counter::Entity::find()
            .filter(change_counter::Column::Node.ne(node.as_str()))
            .all(&read)
            .await;
        match rows {
            Ok(rows) => {
                let sums = Topic::ALL.map(|topic| {
                    rows.iter()
                        .filter(|row| row.topic == topic.as_str())
                        .fold(0_u64, |sum, row| {
                            sum.saturating_add(u64::try_from(row.value).unwrap_or(0))
                        })
                });
                for caller in callers {
                    // A caller that went away needs no answer.
                    let _ = caller.send(Ok(sums));
                }
            }
            Err(error) => {
                for caller in callers {
                    let _ = caller.send(Err(error.clone().into()));
                }
            }
        }
    }
}
