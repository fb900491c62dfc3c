//! `due -> key_ready`: a new key, sealed. No key is ever used for two certificates.

use std::sync::Arc;

use super::{Lease, Onward, Renewal, State, Work, nothing};
use crate::error::{Error, Result};
use crate::fault;
use crate::gate::{Effect, Operation, Permit};
use crate::id::Id;
use crate::lifecycle::Lifecycle;
use crate::policy::{Action, Resource};
use crate::x509;

pub(super) struct PrepareKey(pub(super) Arc<Work>);

impl Operation for PrepareKey {
    const ACTION: Action = Action::RunRenewal;
    const EFFECT: Effect = Effect::Change;
    type Engine = Lifecycle;
    type Output = Onward;

    fn resource(&self) -> Resource {
        self.0.renewal.resource()
    }

    // CRASH: before the commit the key is gone with the process, and nobody has seen it; after it, the row has it.
    async fn run(self, engine: &Lifecycle, permit: &Permit) -> Result<Onward> {
        let work = self.0;
        work.note(permit);
        let now = permit.now();
        let kind = work.certificate.spec.key_type;
        // An RSA key takes its time, and no other task should wait for it.
        let key = tokio::task::spawn_blocking(move || x509::key::generate(kind))
            .await
            .map_err(|e| Error::internal("making a key was broken off").because(e))??;
        let version = Id::ordered(&*engine.entropy, engine.clock.now_millis())?;
        let binding = work.certificate.binding(version);
        let sealed = engine.sealer.seal(&work.certificate.domain(), &binding, &key).await?;
        let row = Renewal {
            version: Some(version),
            key_sealed: Some(sealed),
            ..work.reach(State::KeyReady, now)
        };
        fault::point("lifecycle.key_ready.before");
        work.commit(engine, permit, row, Lease::Keep, nothing).await?;
        fault::point("lifecycle.key_ready.after");
        Ok(Onward::Go)
    }
}
