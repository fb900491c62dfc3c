//! The next certificate, by the current one.

use super::{Enrolled, Enrollment};
use crate::error::Result;
use crate::gate::{Effect, Operation, Permit};
use crate::identity::proof::Proof;
use crate::policy::{Action, Resource, SpiffeId};
use crate::x509::chain::sha256;
use crate::x509::csr::Csr;

/// Gets a fresh certificate for the caller's own identity; policy allows it for no other. The same current certificate
/// and key get the same one again, so that a lost answer is no loss.
pub struct Reenroll {
    /// The identity of the current certificate.
    pub id: SpiffeId,
    /// The request, for the same key or a new one; its names are not looked at.
    pub csr: Csr,
}

impl Operation for Reenroll {
    const ACTION: Action = Action::Reenroll;
    const EFFECT: Effect = Effect::Act;
    type Engine = Enrollment;
    type Output = Enrolled;

    fn resource(&self) -> Resource {
        Resource::Identity(self.id.clone())
    }

    async fn run(self, engine: &Enrollment, permit: &Permit) -> Result<Enrolled> {
        let (now, caller) = (permit.now(), permit.caller());
        if let Some(ended) = caller.not_after.filter(|end| *end < now) {
            permit.note("ended", ended.to_string());
        }
        let registration = engine.identity.enrollable(&self.id).await?;
        let key_digest = sha256(self.csr.key().spki());
        let current = format!("{} {}", self.id, caller.serial.as_deref().unwrap_or_default());
        let proof = Proof::held(&current, &key_digest, None, now);
        engine
            .issue_for(permit, &registration, &self.csr, proof, key_digest, None)
            .await
    }
}
