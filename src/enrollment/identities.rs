//! The register of identities.

use std::time::Duration;

use futures::FutureExt;

use super::Enrollment;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
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
            disabled: None,
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

/// Disables an identity: from its next request on, on open connections too, nothing is answered to it.
///
/// Unlike an end or a revocation, no new certificate mends that.
#[derive(Clone, Debug)]
pub struct DisableIdentity {
    /// Whose.
    pub id: SpiffeId,
}

impl Operation for DisableIdentity {
    const ACTION: Action = Action::DisableIdentity;
    const EFFECT: Effect = Effect::Change;
    type Engine = Enrollment;
    type Output = Registration;

    fn resource(&self) -> Resource {
        Resource::Identity(self.id.clone())
    }

    async fn run(self, engine: &Enrollment, permit: &Permit) -> Result<Registration> {
        // SECURITY: that the last administrator stays is seen to where the role is taken away, and there only.
        if engine.authz.administrators().await?.contains(&self.id) {
            return Err(Error::conflict(format!(
                "`{}` is an administrator: take the role away first (`chancery role revoke`)",
                self.id
            )));
        }
        set_disabled(engine, permit, self.id, Some(permit.now())).await
    }
}

/// Enables an identity again: its certificates count as before, as far as they have not ended.
#[derive(Clone, Debug)]
pub struct EnableIdentity {
    /// Whose.
    pub id: SpiffeId,
}

impl Operation for EnableIdentity {
    const ACTION: Action = Action::EnableIdentity;
    const EFFECT: Effect = Effect::Change;
    type Engine = Enrollment;
    type Output = Registration;

    fn resource(&self) -> Resource {
        Resource::Identity(self.id.clone())
    }

    async fn run(self, engine: &Enrollment, permit: &Permit) -> Result<Registration> {
        set_disabled(engine, permit, self.id, None).await
    }
}

async fn set_disabled(
    engine: &Enrollment,
    permit: &Permit,
    id: SpiffeId,
    at: Option<Timestamp>,
) -> Result<Registration> {
    let identity = engine.identity.clone();
    permit
        .commit(move |tx| {
            let (identity, id) = (identity.clone(), id.clone());
            async move { identity.set_disabled(tx, &id, at).await }.boxed()
        })
        .await
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
