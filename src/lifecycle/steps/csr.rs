//! `key_ready -> csr_ready`: the signing request.

use std::sync::Arc;

use super::{Lease, Onward, Renewal, State, Work, nothing};
use crate::error::Result;
use crate::fault;
use crate::gate::{Effect, Operation, Permit};
use crate::lifecycle::Lifecycle;
use crate::policy::{Action, Resource};
use crate::x509::csr;
use crate::x509::name::Name;

pub(super) struct PrepareCsr(pub(super) Arc<Work>);

impl Operation for PrepareCsr {
    const ACTION: Action = Action::RunRenewal;
    const EFFECT: Effect = Effect::Change;
    type Engine = Lifecycle;
    type Output = Onward;

    fn resource(&self) -> Resource {
        self.0.renewal.resource()
    }

    // CRASH: a request that was not stored was not sent either; another one for the same key is as good.
    async fn run(self, engine: &Lifecycle, permit: &Permit) -> Result<Onward> {
        let work = self.0;
        work.note(permit);
        let key = work.key(engine).await?;
        let names = work
            .certificate
            .spec
            .dns_names
            .iter()
            .map(|name| Name::dns(name))
            .collect::<Result<Vec<_>, _>>()?;
        let row = Renewal {
            csr: Some(csr::create(&key, &names)?),
            ..work.reach(State::CsrReady, permit.now())
        };
        fault::point("lifecycle.csr_ready.before");
        work.commit(engine, permit, row, Lease::Keep, nothing).await?;
        fault::point("lifecycle.csr_ready.after");
        Ok(Onward::Go)
    }
}
