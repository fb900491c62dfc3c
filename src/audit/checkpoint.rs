//! Signing of checkpoints: at most once a second, only over durable records, with the audit key in the token.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::note::Verifier;
use super::queue::Queue;
use super::repo::{self, Epoch};
use super::tree::Tree;
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Result};
use crate::fault;
use crate::hsm::{Hsm, KeyRef};
use crate::store::{CommitSink as _, Store};

/// The least time between two checkpoints, and between two attempts.
const PACE: Duration = Duration::from_secs(1);
/// From not ready to refusing: time for a load balancer to send callers elsewhere.
const GRACE: Duration = Duration::from_secs(60);

/// Signs for the log.
#[async_trait]
pub(super) trait AuditKey: Send + Sync {
    /// The Ed25519 signature of `message`.
    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>>;
}

/// The audit key in the token.
pub(super) struct TokenKey {
    pub(super) hsm: Hsm,
    pub(super) key: KeyRef,
}

#[async_trait]
impl AuditKey for TokenKey {
    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        Ok(self.hsm.sign(&self.key, message).await?)
    }
}

/// A checkpoint and what it covers.
#[derive(Clone, Debug)]
pub(super) struct Checkpoint {
    pub(super) size: u64,
    pub(super) text: Arc<str>,
}

/// Makes and keeps checkpoints.
pub(super) struct Signer {
    verifier: Verifier,
    key: Arc<dyn AuditKey>,
    store: Store,
    epoch: Epoch,
    clock: Arc<dyn Clock>,
    max_unsigned: Duration,
    queue: Arc<Queue>,
    durable: watch::Receiver<Tree>,
    newest: watch::Sender<Option<Checkpoint>>,
    /// Since when records wait for a checkpoint.
    unsigned_since: Mutex<Option<Timestamp>>,
    /// One signature at a time.
    turn: tokio::sync::Mutex<()>,
}

impl Signer {
    pub(super) fn new(
        verifier: Verifier,
        key: Arc<dyn AuditKey>,
        (store, epoch): (Store, Epoch),
        clock: Arc<dyn Clock>,
        max_unsigned: Duration,
        queue: Arc<Queue>,
        newest: Option<Checkpoint>,
    ) -> Self {
        Self {
            verifier,
            key,
            store,
            epoch,
            clock,
            max_unsigned,
            durable: queue.durable(),
            queue,
            newest: watch::Sender::new(newest),
            unsigned_since: Mutex::new(None),
            turn: tokio::sync::Mutex::new(()),
        }
    }

    pub(super) fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// The newest checkpoint, and when there is a newer one.
    pub(super) fn newest(&self) -> watch::Receiver<Option<Checkpoint>> {
        self.newest.subscribe()
    }

    /// Signs all durable records, unless the newest checkpoint covers them.
    ///
    /// # Errors
    /// `Unavailable` if token or store do not answer.
    pub(super) async fn sign(&self) -> Result<()> {
        let _turn = self.turn.lock().await;
        let tree = self.durable.borrow().clone();
        // After the tree: what is not in the log by now is not in the tree.
        let drained = self.queue.drained();
        if self
            .newest
            .borrow()
            .as_ref()
            .is_some_and(|newest| newest.size == tree.size())
        {
            return Ok(());
        }
        fault::point("audit.checkpoint.before");
        let body = self.verifier.body(tree.size(), &tree.root());
        let signature = self.key.sign(body.as_bytes()).await?;
        let text = self.verifier.sealed(&body, &signature);
        if self.verifier.open(&text).is_none() {
            return Err(Error::internal(
                "the token's signature over an audit checkpoint does not verify",
            ));
        }
        // CRASH: kept before anybody can hold it, so the store never knows less than an outsider does.
        repo::keep_checkpoint(&self.store, self.epoch, &tree, &text, drained.seq).await?;
        fault::point("audit.checkpoint.after");
        self.newest.send_replace(Some(Checkpoint {
            size: tree.size(),
            text: text.into(),
        }));
        // What came meanwhile waits from now on; the loop below sees to the rest.
        let waits = self.durable.borrow().size() > tree.size();
        *self.since() = waits.then(|| self.clock.now());
        Ok(())
    }

    /// Signs whenever something is new, until the log is gone.
    pub(super) async fn run(self: Arc<Self>) {
        let mut durable = self.durable.clone();
        loop {
            let signed = self.newest.borrow().as_ref().map(|newest| newest.size);
            if durable.wait_for(|tree| Some(tree.size()) != signed).await.is_err() {
                return;
            }
            self.since().get_or_insert_with(|| self.clock.now());
            if let Err(error) = self.sign().await {
                tracing::warn!("an audit checkpoint could not be signed: {}", error.detail());
            }
            self.clock.sleep(PACE).await;
        }
    }

    /// Whether records are signed in time.
    ///
    /// # Errors
    /// `Unavailable` if they have waited for longer than the setting says.
    pub(super) fn health(&self) -> Result<()> {
        self.waits_no_longer_than(self.max_unsigned)
    }

    /// Whether records may still be taken.
    ///
    /// # Errors
    /// `Unavailable` if the health has been bad for a minute.
    pub(super) fn accepts(&self) -> Result<()> {
        self.waits_no_longer_than(self.max_unsigned.saturating_add(GRACE))
    }

    fn waits_no_longer_than(&self, limit: Duration) -> Result<()> {
        let since = *self.since();
        match since {
            Some(since) if self.clock.now().since(since) > limit => Err(Error::unavailable(format!(
                "audit records have had no signed checkpoint since {since}: see that the token answers"
            ))
            .retry_after(PACE)),
            _ => Ok(()),
        }
    }

    fn since(&self) -> std::sync::MutexGuard<'_, Option<Timestamp>> {
        self.unsigned_since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl Signer {
    pub(super) fn since_is_none(&self) -> bool {
        self.since().is_none()
    }
}
