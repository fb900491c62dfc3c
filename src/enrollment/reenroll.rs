//! The next certificate, by the current one.

use super::{Enrolled, Enrollment};
use crate::ca::Alone;
use crate::error::{Error, Kind, Result};
use crate::gate::{Effect, Operation, Permit};
use crate::policy::{Action, Resource, SpiffeId};
use crate::x509::csr::Csr;

/// Gets a fresh certificate for the caller's own identity; policy allows it for no other.
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
        let registration = engine
            .identity
            .registration(&self.id)
            .await
            .map_err(|e| match e.kind() {
                Kind::NotFound => Error::denied(format!(
                    "`{}` is not registered: ask an administrator to register it and for a join token",
                    self.id
                )),
                _ => e,
            })?;
        engine.issue(permit, &registration, &self.csr, Alone).await
    }
}
