//! `delivered -> verified`: the new certificate is seen served. The end of a renewal.

use std::sync::Arc;

use super::{Lease, Onward, Renewal, State, Work, nothing};
use crate::error::Result;
use crate::fault;
use crate::gate::{Effect, Operation, Permit};
use crate::lifecycle::verify_served::wait_until_served;
use crate::lifecycle::{Lifecycle, repo};
use crate::policy::{Action, Resource};

pub(super) struct VerifyServed(pub(super) Arc<Work>);

impl Operation for VerifyServed {
    const ACTION: Action = Action::RunRenewal;
    const EFFECT: Effect = Effect::Change;
    type Engine = Lifecycle;
    type Output = Onward;

    fn resource(&self) -> Resource {
        self.0.renewal.resource()
    }

    // CRASH: looking has no effect; it is looked again.
    async fn run(self, engine: &Lifecycle, permit: &Permit) -> Result<Onward> {
        let work = self.0;
        work.note(permit);
        let version = repo::version(engine.store.read(), work.version()?).await?;
        permit.note("serial", version.serial.clone());
        if let Some(endpoint) = work.certificate.endpoint(engine.verify_within) {
            permit.note("endpoint", endpoint.address.clone());
            wait_until_served(&endpoint, &version.leaf_der()?, &*engine.clock).await?;
        }
        let row = Renewal {
            next: None,
            failures: 0,
            refusals: 0,
            last_error: None,
            // The version has what it needs.
            key_sealed: None,
            csr: None,
            ..work.reach(State::Verified, permit.now())
        };
        fault::point("lifecycle.verified.before");
        work.commit(engine, permit, row, Lease::Release, nothing).await?;
        fault::point("lifecycle.verified.after");
        tracing::info!(
            cert.name = %work.renewal.name, cert.serial = %version.serial, renewal.id = %work.renewal.id,
            "certificate `{}` is renewed: serial {}", work.renewal.name, version.serial
        );
        Ok(Onward::Rest)
    }
}
