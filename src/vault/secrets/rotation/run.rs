//! The worker: finds rotations for which it is time, takes their lease, and takes their steps.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;

use super::repo;
use super::steps::{self, Defer, Onward};
use crate::error::Result;
use crate::gate::Gate;
use crate::identity::Caller;
use crate::policy::system;
use crate::vault::Vault;

/// How many rotations are worked on at the same time.
const AT_ONCE: u64 = 8;
/// How long to sleep at most: another node may have made something due, or died with a lease.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
const LONGEST_SLEEP_SHARED: Duration = Duration::from_secs(5);
/// After a failure to look.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

impl Vault {
    /// Rotates secrets when it is time, for as long as the service runs. It may be dropped at any moment: what is under
    /// way goes on from its row.
    pub async fn keep_rotated(&self, gate: &Gate) {
        let clock = gate.clock();
        // CRASH: what this node held before it died is its own to go on with; nobody else runs under its name.
        while let Err(error) = self.release_rotations().await {
            tracing::warn!(error = %error.detail(), "rotations of before cannot be taken up yet");
            clock.sleep(AFTER_FAILURE).await;
        }
        loop {
            let longest = match self.store.is_shared() {
                true => LONGEST_SLEEP_SHARED,
                false => LONGEST_SLEEP,
            };
            let looked = async {
                self.rotate_due(gate).await?;
                repo::next_time(&self.store, clock.now()).await
            };
            let until = match looked.await {
                Ok(Some(next)) => next.min(clock.now() + longest),
                Ok(None) => clock.now() + longest,
                Err(error) => {
                    tracing::warn!(error = %error.detail(), "due rotations cannot be looked for");
                    clock.now() + AFTER_FAILURE
                }
            };
            tokio::select! {
                () = clock.sleep_until(until) => {}
                () = self.wake.notified() => {}
            }
        }
    }

    /// Takes every step for which it is time, until nothing is left to do now; how many rotations were looked at.
    ///
    /// # Errors
    /// The store's, if it cannot be looked.
    pub async fn rotate_due(&self, gate: &Gate) -> Result<usize> {
        let mut seen = 0;
        loop {
            let now = gate.clock().now();
            // A look without a lock first: an idle worker writes nothing.
            match repo::next_time(&self.store, now).await? {
                Some(next) if next <= now => {}
                _ => return Ok(seen),
            }
            let node = self.store.node().clone();
            let claimed = self
                .store
                .transact(move |tx| {
                    let node = node.clone();
                    async move { repo::claim(tx, &node, now, AT_ONCE).await }.boxed()
                })
                .await?;
            if claimed.is_empty() {
                return Ok(seen);
            }
            seen += claimed.len();
            join_all(claimed.iter().map(|id| self.drive(gate, id))).await;
        }
    }

    /// Gives back whatever this node holds, so that another one need not wait.
    ///
    /// # Errors
    /// The store's.
    pub async fn release_rotations(&self) -> Result<()> {
        self.give_back(None).await
    }

    /// Takes steps until the rotation rests or fails.
    async fn drive(&self, gate: &Gate, id: &str) {
        loop {
            match self.step(gate, id).await {
                Ok(Onward::Go) => {}
                Ok(Onward::Rest) => break,
                Err(error) => {
                    tracing::warn!(secret.id = %id, error = %error.detail(), "a rotation cannot go on");
                    break;
                }
            }
        }
        if let Err(error) = self.give_back(Some(id.to_owned())).await {
            tracing::warn!(secret.id = %id, error = %error.detail(), "a lease was not given back; it will run out");
        }
    }

    /// One step, and what follows if it fails.
    async fn step(&self, gate: &Gate, id: &str) -> Result<Onward> {
        let Some(row) = repo::show(&self.store, id).await? else {
            return Ok(Onward::Rest);
        };
        if row.paused {
            return Ok(Onward::Rest);
        }
        let row = Arc::new(row);
        let caller = Caller::system(system::ROTATION, &*self.entropy)?;
        let error = match steps::take(gate, self, &caller, row.clone()).await {
            Ok(onward) => return Ok(onward),
            Err(error) => error,
        };
        tracing::warn!(
            secret.vault = %row.vault, secret.name = %row.name, rotation.step = %row.at(), error = %error.detail(),
            "a step of the rotation of secret `{}` of vault `{}` failed", row.name, row.vault
        );
        let defer = Defer {
            kind: error.kind(),
            text: error.public().to_owned(),
            row,
        };
        gate.perform(&caller, self, defer).await?;
        Ok(Onward::Rest)
    }

    async fn give_back(&self, one: Option<String>) -> Result<()> {
        let node = self.store.node().clone();
        self.store
            .transact(move |tx| {
                let (node, one) = (node.clone(), one.clone());
                async move { repo::release(tx, &node, one.as_deref()).await }.boxed()
            })
            .await
    }
}
