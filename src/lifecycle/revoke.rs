//! Revoking the current version and replacing it.

use futures::FutureExt;

use super::renew::advance_planned;
use super::renewal::State;
use super::show::not_issued;
use super::{Lifecycle, repo};
use crate::error::{Error, Result};
use crate::fault;
use crate::gate::{Effect, Operation, Permit};
use crate::id::{Label, ObjectName};
use crate::policy::{Action, Resource};
use crate::wire;

/// Has the current version revoked by its issuer, and orders its replacement at once.
pub struct RevokeCertificate {
    /// The certificate object's vault.
    pub vault: Label,
    /// Its name.
    pub name: ObjectName,
    /// Why.
    pub reason: wire::RevocationReason,
}

impl Operation for RevokeCertificate {
    const ACTION: Action = Action::RevokeCertificate;
    const EFFECT: Effect = Effect::Act;
    type Engine = Lifecycle;
    type Output = wire::Certificate;

    fn resource(&self) -> Resource {
        Resource::certificate(self.vault.clone(), self.name.clone())
    }

    // CRASH: a revocation that the issuer has made and we have not stored is asked for again by whoever asked before; the
    // issuer says `alreadyRevoked`, which is taken for done.
    async fn run(self, engine: &Lifecycle, permit: &Permit) -> Result<wire::Certificate> {
        let read = engine.store.read();
        let certificate = repo::certificate(read, &self.vault, &self.name).await?;
        let version = repo::version(read, certificate.current.ok_or_else(|| not_issued(&self.name))?).await?;
        if let Some(at) = version.revoked {
            return Err(Error::conflict(format!(
                "the current version of certificate `{}` was revoked at {at}: its replacement is on its way",
                self.name
            )));
        }
        permit.note("serial", version.serial.clone());
        permit.note("version", version.ordinal.to_string());
        permit.note("reason", self.reason.as_str());
        permit.intend(|_| async { Ok(()) }.boxed()).await?;
        engine
            .upstream
            .revoke(permit, &version.issuer, &version.leaf_der()?, self.reason)
            .await?;
        let now = permit.now();
        let (version_id, certificate_id, wake) = (version.id, certificate.id, engine.wake.clone());
        fault::point("lifecycle.revoked.before");
        let renewal = permit
            .commit(move |tx| {
                let wake = wake.clone();
                async move {
                    repo::set_revoked(tx, version_id, now).await?;
                    let renewals = repo::renewals_of(tx.conn(), certificate_id).await?;
                    tx.on_commit(move || wake.notify_one());
                    // One that is before its issuing replaces the revoked version anyway.
                    let replacing = renewals
                        .iter()
                        .find(|renewal| renewal.state < State::Current && renewal.state != State::Due);
                    match replacing {
                        Some(renewal) => {
                            repo::rouse(tx, renewal, None, now).await?;
                            Ok(renewal.shown(now))
                        }
                        None => Ok(advance_planned(tx, &renewals, now).await?.shown(now)),
                    }
                }
                .boxed()
            })
            .await?;
        fault::point("lifecycle.revoked.after");
        let version = repo::version(engine.store.read(), version_id).await?;
        Ok(certificate.shown(Some(&version), Some(renewal)))
    }
}
