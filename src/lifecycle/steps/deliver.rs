//! `current -> delivered`: files, then the hook, where they are asked for.

use std::sync::Arc;

use super::{Lease, Onward, Renewal, State, Work, nothing};
use crate::error::{Error, Result};
use crate::fault;
use crate::gate::{Effect, Operation, Permit};
use crate::lifecycle::certificate::Version;
use crate::lifecycle::deliver::files::{self, FileDelivery, Material};
use crate::lifecycle::deliver::hook::{self, Occasion};
use crate::lifecycle::{Lifecycle, repo};
use crate::policy::{Action, Resource};
use crate::program::Owner;

pub(super) struct Deliver(pub(super) Arc<Work>);

impl Operation for Deliver {
    const ACTION: Action = Action::RunRenewal;
    const EFFECT: Effect = Effect::Act;
    type Engine = Lifecycle;
    type Output = Onward;

    fn resource(&self) -> Resource {
        self.0.renewal.resource()
    }

    // CRASH: writing again what is written changes nothing. The hook may run twice for one version, never not at all.
    async fn run(self, engine: &Lifecycle, permit: &Permit) -> Result<Onward> {
        let work = self.0;
        work.note(permit);
        let version = repo::version(engine.store.read(), work.version()?).await?;
        permit.note("serial", version.serial.clone());
        if let (Some(delivery), Some(asked)) = (work.certificate.delivery(), &work.certificate.spec.deliver) {
            permit.note("directory", delivery.dir.display().to_string());
            let key = work.key(engine).await?;
            work.intend(engine, permit).await?;
            fault::point("lifecycle.written.before");
            write(&work, engine, &version, delivery.clone(), key).await?;
            fault::point("lifecycle.written.after");
            if !asked.hook.is_empty() {
                let occasion = Occasion {
                    name: work.renewal.name.as_str(),
                    dir: Some(&delivery.dir),
                    serial: &version.serial,
                };
                hook::run(
                    &asked.hook,
                    &engine.programs,
                    engine.hook_user.as_deref().map(Owner::resolve).transpose()?,
                    &occasion,
                    engine.hook_timeout,
                )
                .await?;
            }
        }
        let row = Renewal {
            failures: 0,
            refusals: 0,
            last_error: None,
            ..work.reach(State::Delivered, permit.now())
        };
        fault::point("lifecycle.delivered.before");
        work.commit(engine, permit, row, Lease::Keep, nothing).await?;
        fault::point("lifecycle.delivered.after");
        Ok(Onward::Go)
    }
}

async fn write(
    work: &Work,
    engine: &Lifecycle,
    version: &Version,
    delivery: FileDelivery,
    key: crate::secret::Secret,
) -> Result<()> {
    let (name, ordinal, chain) = (work.renewal.name.to_string(), version.ordinal, version.chain_der()?);
    let roots = engine.roots.clone();
    let written = tokio::task::spawn_blocking(move || {
        let material = Material {
            name: &name,
            ordinal,
            chain: &chain,
            key: &key,
        };
        files::write(&delivery, &roots, &material)
    });
    written
        .await
        .map_err(|e| Error::internal("writing the files was broken off").because(e))?
}
