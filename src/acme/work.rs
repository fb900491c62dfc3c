//! What goes on without a request: taking up what another end cut off, and forgetting what is over.

use std::time::Duration;

use futures::FutureExt;

use super::Acme;
use super::repo::{self, Authorizations, Orders};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::gate::{Effect, Operation, Permit};
use crate::identity::Caller;
use crate::policy::{Action, Resource, system};

/// The longest that it sleeps: what was cut off is found by then.
const LONGEST: Duration = Duration::from_secs(10);
/// How often what is over is forgotten.
const SWEEP: Duration = Duration::from_secs(3_600);
/// Rows that are forgotten at once, so that nobody waits long for the writer.
const BATCH: u64 = 500;

/// Removes for good some orders and authorizations that were over before then.
struct PurgeOrders {
    before: Timestamp,
}

impl Operation for PurgeOrders {
    const ACTION: Action = Action::PurgeExpired;
    const EFFECT: Effect = Effect::Change;
    type Engine = Acme;
    type Output = ();

    fn resource(&self) -> Resource {
        Resource::Everything
    }

    async fn run(self, _: &Acme, permit: &Permit) -> Result<()> {
        let before = self.before;
        permit
            .commit(move |tx| {
                async move {
                    let orders = repo::forget::<Orders>(tx, before, BATCH).await?;
                    let authorizations = repo::forget::<Authorizations>(tx, before, BATCH).await?;
                    tx.note("orders", orders.to_string());
                    tx.note("authorizations", authorizations.to_string());
                    Ok(())
                }
                .boxed()
            })
            .await
    }
}

impl Acme {
    /// Takes up what was cut off, again and again; never returns.
    pub async fn keep_up(&self) {
        let mut due = self.now();
        loop {
            let round = async {
                self.resume().await?;
                if due <= self.now() {
                    self.sweep().await?;
                    due = self.now() + SWEEP;
                }
                Ok::<_, crate::error::Error>(())
            };
            if let Err(error) = round.await {
                tracing::warn!(error = %error.detail(), "the ACME server cannot take up what is left");
            }
            self.0.gate.clock().sleep(LONGEST).await;
        }
    }

    /// Forgets used nonces that are too old to be taken, and orders and authorizations that were over a while ago.
    ///
    /// # Errors
    /// The gate's and the store's.
    pub async fn sweep(&self) -> Result<()> {
        let store = self.0.gate.store();
        self.0.nonces.sweep().await?;
        let before = self.now() - Duration::from_secs(self.0.settings.keep_ended_s);
        let caller = Caller::system(system::UPKEEP, self.0.gate.entropy().as_ref())?;
        while repo::has_ended::<Orders>(store.read(), before).await?
            || repo::has_ended::<Authorizations>(store.read(), before).await?
        {
            self.0.gate.perform(&caller, self, PurgeOrders { before }).await?;
        }
        Ok(())
    }

    /// Takes up validations and orders whose lease has run out.
    ///
    /// # Errors
    /// The store's.
    pub async fn resume(&self) -> Result<()> {
        let (read, now) = (self.0.gate.store().read(), self.now());
        let due = |lease: Option<Timestamp>| lease.is_some_and(|lease| lease <= now);
        // A look without a lock first: an idle node writes nothing.
        if due(repo::next_lease::<Authorizations>(read).await?) {
            self.resume_validations().await?;
        }
        if due(repo::next_lease::<Orders>(read).await?) {
            self.resume_orders().await?;
        }
        Ok(())
    }

    /// Gives back what this node held before it ended, so that it is taken up at once: nobody else runs under its
    /// name.
    pub(super) async fn release(&self) -> Result<()> {
        let store = self.0.gate.store();
        let (node, now) = (store.node().clone(), self.now());
        store
            .transact(move |tx| {
                let node = node.clone();
                async move {
                    repo::release::<Authorizations>(tx, &node, now).await?;
                    repo::release::<Orders>(tx, &node, now).await
                }
                .boxed()
            })
            .await
    }
}
