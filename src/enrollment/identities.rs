//! The register of identities.

use std::time::Duration;

use futures::FutureExt;

use super::Enrollment;
use crate::error::Result;
use crate::gate::{Effect, Operation, Permit};
use crate::identity::register::Registration;
use crate::policy::{Action, Resource, SpiffeId};

/// Registers an identity, so that join tokens can be made for it.
#[derive(Clone, Debug)]
pub struct CreateIdentity {
    /// Its name, in this service's trust domain.
    pub id: SpiffeId,
    /// The lifetime of its certificates; `None` is the profile's default.
    pub ttl: Option<Duration>,
}

impl Operation for CreateIdentity {
    const ACTION: Action = Action::CreateIdentity;
    const EFFECT: Effect = Effect::Change;
    type Engine = Enrollment;
    type Output = Registration;

    fn resource(&self) -> Resource {
        Resource::Identity(self.id.clone())
    }

    async fn run(self, engine: &Enrollment, permit: &Permit) -> Result<Registration> {
        engine.check_ttl(self.ttl)?;
        let registration = Registration {
            id: self.id,
            ttl: self.ttl,
            created: permit.now(),
        };
        let identity = engine.identity.clone();
        permit
            .commit(move |tx| {
                let (identity, registration) = (identity.clone(), registration.clone());
                async move {
                    identity.register(tx, &registration).await?;
                    Ok(registration)
                }
                .boxed()
            })
            .await
    }
}

/// Lists identities in the order of their ids.
#[derive(Clone, Debug)]
pub struct ListIdentities {
    /// The last one of the page before.
    pub after: Option<SpiffeId>,
    /// How many at most.
    pub limit: u32,
}

impl Operation for ListIdentities {
    const ACTION: Action = Action::ListIdentities;
    const EFFECT: Effect = Effect::Read;
    type Engine = Enrollment;
    type Output = Vec<Registration>;

    fn resource(&self) -> Resource {
        Resource::Identities
    }

    async fn run(self, engine: &Enrollment, _: &Permit) -> Result<Vec<Registration>> {
        engine.identity.registrations(self.after.as_ref(), self.limit).await
    }
}
