//! What goes on without a request: taking up what another end cut off, and forgetting what is over.

use std::time::Duration;

use futures::FutureExt;

use super::{Acme, authorization, order};
use crate::clock::Timestamp;
use crate::error::Result;

/// The longest that it sleeps: what was cut off is found by then.
const LONGEST: Duration = Duration::from_secs(10);
/// How often used nonces are forgotten.
const SWEEP: Duration = Duration::from_secs(3_600);

impl Acme {
    /// Takes up what was cut off, again and again; never returns.
    pub async fn keep_up(&self) {
        let mut swept = self.now();
        loop {
            let round = async {
                self.resume().await?;
                if swept + SWEEP <= self.now() {
                    self.0.nonces.sweep(self.0.gate.store()).await?;
                    swept = self.now();
                }
                Ok::<_, crate::error::Error>(())
            };
            if let Err(error) = round.await {
                tracing::warn!(error = %error.detail(), "the ACME server cannot take up what is left");
            }
            self.0.gate.clock().sleep(LONGEST).await;
        }
    }

    /// Takes up validations and orders whose lease has run out.
    ///
    /// # Errors
    /// The store's.
    pub async fn resume(&self) -> Result<()> {
        let (read, now) = (self.0.gate.store().read(), self.now());
        let due = |lease: Option<Timestamp>| lease.is_some_and(|lease| lease <= now);
        // A look without a lock first: an idle node writes nothing.
        if due(authorization::repo::next_lease(read).await?) {
            self.resume_validations().await?;
        }
        if due(order::repo::next_lease(read).await?) {
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
                    authorization::repo::release(tx, &node, now).await?;
                    order::repo::release(tx, &node, now).await
                }
                .boxed()
            })
            .await
    }
}
