//! Renewing now, and going on with what has stopped.

use futures::FutureExt;

use super::renewal::{Renewal, State};
use super::{Lifecycle, repo};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::gate::{Effect, Operation, Permit};
use crate::id::{Id, Label, ObjectName};
use crate::policy::{Action, Resource};
use crate::store::Tx;
use crate::wire;

/// Renews a certificate object now, whatever its windows say. If a renewal is under way, waits or has stopped, that one
/// goes on.
pub struct RenewCertificate {
    /// Its vault.
    pub vault: Label,
    /// Its name.
    pub name: ObjectName,
}

impl Operation for RenewCertificate {
    const ACTION: Action = Action::RenewCertificate;
    const EFFECT: Effect = Effect::Change;
    type Engine = Lifecycle;
    type Output = wire::Renewal;

    fn resource(&self) -> Resource {
        Resource::certificate(self.vault.clone(), self.name.clone())
    }

    async fn run(self, engine: &Lifecycle, permit: &Permit) -> Result<wire::Renewal> {
        let now = permit.now();
        let certificate = repo::certificate(engine.store.read(), &self.vault, &self.name)
            .await?
            .id;
        let wake = engine.wake.clone();
        permit
            .commit(move |tx| {
                let wake = wake.clone();
                async move {
                    tx.on_commit(move || wake.notify_one());
                    let renewal = rouse(tx, certificate, now).await?;
                    tx.note("renewal", renewal.id.to_string());
                    Ok(renewal.shown(now))
                }
                .boxed()
            })
            .await
    }
}

/// Makes the renewal that is under way go on, or the planned one start.
async fn rouse(tx: &Tx, certificate: Id, now: Timestamp) -> Result<Renewal> {
    let renewals = repo::renewals_of(tx.conn(), certificate).await?;
    let under_way = renewals.iter().find(|renewal| is_under_way(renewal, &renewals));
    match under_way {
        Some(renewal) => {
            repo::rouse(tx, renewal, None, now).await?;
            reload(tx, renewal.id).await
        }
        None => advance_planned(tx, &renewals, now).await,
    }
}

/// Makes the planned renewal due now.
pub(super) async fn advance_planned(tx: &Tx, renewals: &[Renewal], now: Timestamp) -> Result<Renewal> {
    let planned = renewals
        .iter()
        .find(|renewal| renewal.state == State::Due)
        .ok_or_else(|| Error::internal("a certificate has no planned renewal"))?;
    repo::rouse(tx, planned, Some("requested"), now).await?;
    reload(tx, planned.id).await
}

/// Begun and not ended, and not overtaken by a newer version.
fn is_under_way(renewal: &Renewal, all: &[Renewal]) -> bool {
    let newer_version = all
        .iter()
        .any(|other| other.id > renewal.id && other.state >= State::Current);
    !matches!(renewal.state, State::Due | State::Verified) && !newer_version
}

async fn reload(tx: &Tx, id: Id) -> Result<Renewal> {
    repo::renewal(tx.conn(), id)
        .await?
        .ok_or_else(|| Error::internal(format!("renewal `{id}` is gone")))
}
