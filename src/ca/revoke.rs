//! Revoking: for good, and known to `identity` before anybody is told.

use futures::FutureExt;

use super::revoked::repo as revocations;
use super::{Authority, IssuedCertificate, State, repo};
use crate::error::{Error, Result};
use crate::gate::{Effect, Operation, Permit};
use crate::id::Label;
use crate::policy::{Action, Resource};
use crate::store::Topic;
use crate::x509::crl::Reason;
use crate::x509::serial::Serial;

/// Revokes a certificate, or a serial that was reserved for one.
#[derive(Clone, Debug)]
pub struct RevokeIssued {
    /// Whose certificate it is.
    pub authority: Label,
    /// Why.
    pub reason: Reason,
    /// Which.
    pub serial: Serial,
}

impl Operation for RevokeIssued {
    const ACTION: Action = Action::RevokeIssued;
    const EFFECT: Effect = Effect::Change;
    type Engine = Authority;
    type Output = IssuedCertificate;

    fn resource(&self) -> Resource {
        Authority::resource(&self.authority)
    }

    async fn run(self, authority: &Authority, permit: &Permit) -> Result<IssuedCertificate> {
        authority.is_called(&self.authority)?;
        let (serial, reason, now) = (self.serial.to_string(), self.reason, permit.now());
        permit.note("serial", serial.clone());
        permit.note("reason_code", reason.as_str());
        let label = authority.0.issuing.label().to_owned();
        // Not a part of the transaction: what it finds never changes but to be revoked, which is asked again within.
        let found = repo::find(authority.0.gate.store().read(), &serial).await?;
        let Some(found) = found.filter(|found| found.issuer == label) else {
            return Err(Error::not_found(format!(
                "`{}` has not issued `{serial}`: `cert list --authority` shows what it has",
                self.authority
            )));
        };
        let engine = authority.clone();
        permit
            .commit(move |tx| {
                let (engine, label, found) = (engine.clone(), label.clone(), found.clone());
                async move {
                    let revision = revocations::next_revision(tx, &label).await?;
                    if !revocations::mark(tx, &found.serial, reason, now, revision).await? {
                        return Err(Error::conflict(format!(
                            "`{}` is revoked already: nothing is left to do",
                            found.serial
                        )));
                    }
                    tx.touch(Topic::Authorities);
                    let revoked = IssuedCertificate {
                        state: State::Revoked { at: now, reason },
                        ..found
                    };
                    // INVARIANT: before the answer, so that the first request after it is refused. Nothing here can
                    // fail, and the list is rebuilt later: revoking never depends on a signature.
                    let noted = revoked.clone();
                    tx.on_commit(move || engine.note(&noted, reason, revision));
                    Ok(revoked)
                }
                .boxed()
            })
            .await
    }
}

impl Authority {
    fn note(&self, revoked: &IssuedCertificate, reason: Reason, revision: i64) {
        self.0.identity.note_revoked(&revoked.serial);
        if reason == Reason::KeyCompromise {
            self.compromised_mut().insert(revoked.spki_sha256.clone());
        }
        self.0
            .issuing
            .revision
            .fetch_max(revision, std::sync::atomic::Ordering::SeqCst);
        self.0.revoked.notify_one();
    }
}
