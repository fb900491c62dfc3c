//! The steps of a renewal, one file each: from the state that the row is in to the next.
//!
//! Every step may be run again after a crash at any point in it, and says in a `CRASH:` comment what a crash leaves. A
//! step commits exactly once, with the lease checked ([`repo::save`]); before something that cannot be undone it commits
//! its intent. A failing step changes nothing but by [`defer`].

mod csr;
mod current;
pub(super) mod defer;
mod deliver;
mod key;
mod obtain;
mod order;
mod reschedule;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::Lifecycle;
use super::certificate::Certificate;
use super::renewal::{Renewal, State};
use super::repo::{self, Lease};
use crate::clock::Timestamp;
use crate::entropy;
use crate::error::{Error, Result};
use crate::gate::{Gate, Permit};
use crate::id::Id;
use crate::identity::Caller;
use crate::secret::Secret;
use crate::store::Tx;

/// A conversation with an issuer takes no longer: the lease outlasts it.
const CONVERSATION: Duration = Duration::from_secs(120);

/// A renewal that this node holds, and its certificate object, as they are in the store.
#[derive(Clone)]
pub(super) struct Work {
    pub(super) renewal: Renewal,
    pub(super) certificate: Certificate,
}

/// What the worker does after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Onward {
    /// The next step, at once.
    Go,
    /// Nothing more for now; the lease is given back.
    Rest,
}

/// Takes the next step of `work`, whatever it is.
pub(super) async fn take(gate: &Gate, engine: &Lifecycle, caller: &Caller, work: Arc<Work>) -> Result<Onward> {
    match work.renewal.state {
        State::Due if work.renewal.due > engine.clock.now() => {
            gate.perform(caller, engine, reschedule::Reschedule(work)).await
        }
        State::Due => gate.perform(caller, engine, key::PrepareKey(work)).await,
        State::KeyReady => gate.perform(caller, engine, csr::PrepareCsr(work)).await,
        State::CsrReady => gate.perform(caller, engine, order::PlaceOrder(work)).await,
        State::Ordered => gate.perform(caller, engine, obtain::Obtain(work)).await,
        State::Issued => gate.perform(caller, engine, current::MakeCurrent(work)).await,
        State::Current => gate.perform(caller, engine, deliver::Deliver(work)).await,
        State::Delivered => gate.perform(caller, engine, verify::VerifyServed(work)).await,
        State::Verified => Ok(Onward::Rest),
    }
}

impl Work {
    /// The row as it will be in state `to`.
    fn reach(&self, to: State, now: Timestamp) -> Renewal {
        Renewal {
            state: to,
            next: Some(now),
            updated: now,
            ..self.renewal.clone()
        }
    }

    fn version(&self) -> Result<Id> {
        self.renewal
            .version
            .ok_or_else(|| Error::internal("a renewal lost its version's id"))
    }

    /// Notes in the record which step this is.
    fn note(&self, permit: &Permit) {
        permit.note("renewal", self.renewal.id.to_string());
        permit.note("state", self.renewal.state.as_str());
    }

    /// Opens the new version's key.
    async fn key(&self, engine: &Lifecycle) -> Result<Secret> {
        let sealed = self
            .renewal
            .key_sealed
            .as_deref()
            .ok_or_else(|| Error::internal("a renewal lost its key"))?;
        let binding = self.certificate.binding(self.version()?);
        engine.sealer.open(&self.certificate.domain(), &binding, sealed).await
    }

    /// Commits the intent of something that cannot be undone, and holds the lease through it.
    async fn intend(self: &Arc<Self>, engine: &Lifecycle, permit: &Permit) -> Result<()> {
        let (work, node, now) = (self.clone(), engine.store.node().clone(), permit.now());
        permit
            .intend(move |tx| {
                let (work, node) = (work.clone(), node.clone());
                async move { repo::hold(tx, &node, &work.renewal, now).await }.boxed()
            })
            .await
    }

    /// Commits `row`, which this work has become, and whatever else `beside` writes.
    async fn commit<F>(&self, engine: &Lifecycle, permit: &Permit, row: Renewal, lease: Lease, beside: F) -> Result<()>
    where
        F: for<'t> Fn(&'t Tx) -> BoxFuture<'t, Result<()>> + Send + Sync + 'static,
    {
        let node = engine.store.node().clone();
        let (was, row, beside) = (self.renewal.state, Arc::new(row), Arc::new(beside));
        permit.note("reached", row.state.as_str());
        permit
            .commit(move |tx| {
                let (node, row, beside) = (node.clone(), row.clone(), beside.clone());
                async move {
                    repo::save(tx, &node, &row, was, lease).await?;
                    beside(tx).await
                }
                .boxed()
            })
            .await
    }
}

/// Nothing beside the row itself.
fn nothing(_tx: &Tx) -> BoxFuture<'_, Result<()>> {
    async { Ok(()) }.boxed()
}

/// A random number over all of `u64`.
fn draw(engine: &Lifecycle) -> Result<u64> {
    entropy::bytes(&*engine.entropy).map(u64::from_be_bytes)
}
