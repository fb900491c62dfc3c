//! `issued -> current`: the new version replaces the old one, and the next renewal is planned.
//!
//! It is planned here and not at the end, because a delivery that fails for ever must not keep a certificate from being
//! renewed.

use std::sync::Arc;

use futures::FutureExt;

use super::{Lease, Onward, Renewal, State, Work, draw};
use crate::error::Result;
use crate::fault;
use crate::gate::{Effect, Operation, Permit};
use crate::id::Id;
use crate::lifecycle::window::{Basis, Plan, pick};
use crate::lifecycle::{Lifecycle, repo};
use crate::policy::{Action, Resource};

pub(super) struct MakeCurrent(pub(super) Arc<Work>);

impl Operation for MakeCurrent {
    const ACTION: Action = Action::RunRenewal;
    const EFFECT: Effect = Effect::Change;
    type Engine = Lifecycle;
    type Output = Onward;

    fn resource(&self) -> Resource {
        self.0.renewal.resource()
    }

    // CRASH: one transaction; either all of it is so, or nothing.
    async fn run(self, engine: &Lifecycle, permit: &Permit) -> Result<Onward> {
        let work = self.0;
        work.note(permit);
        let now = permit.now();
        let version = repo::version(engine.store.read(), work.version()?).await?;
        let hurried = if work.renewal.basis == Basis::Hurried.as_str() {
            work.certificate.hurried.saturating_add(1)
        } else {
            0
        };
        let maintenance = work.certificate.maintenance()?;
        let plan = Plan {
            validity: version.validity,
            suggested: None,
            fraction: work.certificate.fraction()?,
            maintenance: &maintenance,
            hurried,
            now,
        };
        let picked = pick(&plan, draw(engine)?);
        let id = Id::ordered(&*engine.entropy, engine.clock.now_millis())?;
        // Its first act is to ask the issuer what it suggests.
        let next = Renewal {
            ask_issuer: Some(now),
            next: Some(now),
            ..Renewal::new(id, &work.certificate, picked.basis.as_str(), picked.at, now)
        };
        let row = Renewal {
            // Files are written where they are read; without files any node can go on.
            node: work
                .certificate
                .spec
                .deliver
                .as_ref()
                .map(|_| engine.store.node().clone()),
            ..work.reach(State::Current, now)
        };
        permit.note("serial", version.serial.clone());
        permit.note("version", version.ordinal.to_string());
        let (certificate, version) = (work.certificate.id, version.id);
        let beside = Arc::new((row.clone(), next));
        let waker = engine.wake.clone();
        fault::point("lifecycle.current.before");
        work.commit(engine, permit, row, Lease::Keep, move |tx| {
            let (beside, waker) = (beside.clone(), waker.clone());
            async move {
                let (row, next) = &*beside;
                repo::set_current(tx, certificate, version, hurried).await?;
                repo::supersede(tx, row).await?;
                repo::insert_renewal(tx, next).await?;
                tx.on_commit(move || waker.notify_one());
                Ok(())
            }
            .boxed()
        })
        .await?;
        fault::point("lifecycle.current.after");
        Ok(Onward::Go)
    }
}
