//! One-time join tokens.

use std::time::Duration;

use futures::FutureExt;

use super::Enrollment;
use super::bootstrap::ADMINISTRATOR;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::gate::{Effect, Gate, Operation, Permit};
use crate::identity::Caller;
use crate::identity::register::JoinToken;
use crate::policy::{Action, Resource, SpiffeId, system};
use crate::secret::Secret;

/// How long a join token can be used if nothing is said.
const DEFAULT_LIFE: Duration = Duration::from_secs(3_600);

/// How long a join token can be used at most: a token is a credential that lies around.
const MAX_LIFE: Duration = Duration::from_secs(7 * 86_400);

/// How long a token that ended is told from one that never was.
pub const KEPT: Duration = Duration::from_secs(7 * 86_400);

/// How many are removed at a time, so that nobody waits long for the writer.
const BATCH: u64 = 500;

/// Makes a join token for an identity.
///
/// SECURITY: its holder becomes that identity, so this is as strong as every role the identity has.
#[derive(Clone, Debug)]
pub struct CreateJoinToken {
    /// Whose first certificate it is for.
    pub id: SpiffeId,
    /// How long it can be used; an hour if nothing is said.
    pub life: Option<Duration>,
}

/// A join token, to be shown once.
pub struct IssuedToken {
    /// The token.
    pub token: Secret,
    /// Whose it is.
    pub id: SpiffeId,
    /// From then on it is refused.
    pub expires: Timestamp,
}

impl Operation for CreateJoinToken {
    const ACTION: Action = Action::CreateJoinToken;
    const EFFECT: Effect = Effect::Change;
    type Engine = Enrollment;
    type Output = IssuedToken;

    fn resource(&self) -> Resource {
        Resource::Identity(self.id.clone())
    }

    async fn run(self, engine: &Enrollment, permit: &Permit) -> Result<IssuedToken> {
        let life = self.life.unwrap_or(DEFAULT_LIFE);
        if life.as_secs() == 0 || life > MAX_LIFE {
            return Err(Error::invalid(format!(
                "a join token lives from 1 to {} s, not {} s: choose less, or make another one later",
                MAX_LIFE.as_secs(),
                life.as_secs()
            )));
        }
        let token = JoinToken::random(permit.entropy())?;
        let now = permit.now();
        let expires = now + life;
        permit.note("expires", expires.to_string());
        let (identity, digest, id) = (engine.identity.clone(), token.digest(), self.id.clone());
        permit
            .commit(move |tx| {
                let (identity, digest, id) = (identity.clone(), digest.clone(), id.clone());
                async move { identity.issue_token(tx, &digest, &id, now, expires).await }.boxed()
            })
            .await?;
        Ok(IssuedToken {
            token: token.into_secret(),
            id: self.id,
            expires,
        })
    }
}

/// Removes for good some join tokens that ended long ago, and what was shown by others that nobody can show again; how
/// many.
struct PurgeTokens;

impl Operation for PurgeTokens {
    const ACTION: Action = Action::PurgeExpired;
    const EFFECT: Effect = Effect::Change;
    type Engine = Enrollment;
    type Output = u64;

    fn resource(&self) -> Resource {
        Resource::Identities
    }

    async fn run(self, engine: &Enrollment, permit: &Permit) -> Result<u64> {
        let (identity, now) = (engine.identity.clone(), permit.now());
        let keep = engine.identity.trust_domain().id(ADMINISTRATOR)?;
        permit
            .commit(move |tx| {
                let (identity, keep) = (identity.clone(), keep.clone());
                async move {
                    let tokens = identity.remove_tokens(tx, now - KEPT, &keep, BATCH).await?;
                    let proofs = identity.forget_proofs(tx, now, BATCH).await?;
                    tx.note("join_tokens", tokens.to_string());
                    tx.note("proofs", proofs.to_string());
                    Ok(tokens + proofs)
                }
                .boxed()
            })
            .await
    }
}

impl Enrollment {
    /// Removes for good every join token that ended long ago, and every proof that ended, some at a time.
    ///
    /// # Errors
    /// As [`Gate::perform`].
    pub async fn sweep(&self, gate: &Gate) -> Result<()> {
        let caller = Caller::system(system::UPKEEP, gate.entropy().as_ref())?;
        let keep = self.identity.trust_domain().id(ADMINISTRATOR)?;
        let now = || gate.clock().now();
        while self.identity.has_ended_tokens(now() - KEPT, &keep).await?
            || self.identity.has_ended_proofs(now()).await?
        {
            gate.perform(&caller, self, PurgeTokens).await?;
        }
        Ok(())
    }
}
