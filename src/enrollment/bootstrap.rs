//! The first administrator, and one more when all others are lost.

use std::time::Duration;

use super::{CreateIdentity, CreateJoinToken, Enrollment, IssuedToken};
use crate::access::AssignRole;
use crate::error::{Kind, Result};
use crate::gate::Gate;
use crate::id::Id;
use crate::identity::Caller;
use crate::policy::{Role, Scope, SpiffeId, system};

/// The path of the first administrator's identity.
pub(super) const ADMINISTRATOR: &str = "admin";
/// What the path of one made by break-glass begins with.
const RECOVERED: &str = "recovered";

/// A join token for the first administrator, as long as nobody else is one and the first has never enrolled; then `None`, for good.
/// To be called at every start and printed on the host.
///
/// CRASH: each step is looked at before it is taken, so the next start goes on; a token that nobody has seen ends by
/// itself.
///
/// # Errors
/// As [`Gate::perform`].
pub async fn bootstrap_token(gate: &Gate, engine: &Enrollment) -> Result<Option<IssuedToken>> {
    let id = engine.identity.trust_domain().id(ADMINISTRATOR)?;
    // SECURITY: once there was another administrator, or this one has enrolled, who is one is decided by them. A start
    // must not give the role back to whom they took it from.
    let others = engine
        .authz
        .administrators()
        .await?
        .into_iter()
        .any(|other| other != id);
    if others || engine.identity.has_enrolled(std::slice::from_ref(&id)).await? {
        return Ok(None);
    }
    administrator_token(gate, engine, id, None).await.map(Some)
}

/// A join token for an administrator, who is registered and given the role if need be. For whoever runs the service on
/// its host: it asks no one. Certificates live for `ttl`, if the identity is not registered yet.
///
/// # Errors
/// As [`Gate::perform`].
pub async fn administrator_token(
    gate: &Gate,
    engine: &Enrollment,
    id: SpiffeId,
    ttl: Option<Duration>,
) -> Result<IssuedToken> {
    let caller = Caller::system(system::BOOTSTRAP, gate.entropy().as_ref())?;
    appoint(gate, engine, &caller, id, ttl).await
}

/// Break-glass: a join token for an administrator, `id` or one that nobody was before. For whoever holds the token's PIN
/// on the host, which the caller has seen to.
///
/// # Errors
/// As [`Gate::perform`].
pub async fn recover_administrator(gate: &Gate, engine: &Enrollment, id: Option<SpiffeId>) -> Result<IssuedToken> {
    let entropy = gate.entropy().as_ref();
    let caller = Caller::system(system::BREAK_GLASS, entropy)?;
    let id = match id {
        Some(id) => id,
        None => {
            let domain = engine.identity.trust_domain();
            domain.id(&format!("{RECOVERED}/{}", Id::random(entropy)?))?
        }
    };
    appoint(gate, engine, &caller, id, None).await
}

async fn appoint(
    gate: &Gate,
    engine: &Enrollment,
    caller: &Caller,
    id: SpiffeId,
    ttl: Option<Duration>,
) -> Result<IssuedToken> {
    match engine.identity.registration(&id).await {
        Ok(_) => {}
        Err(e) if e.kind() == Kind::NotFound => {
            let id = id.clone();
            others_may_be_first(gate.perform(caller, engine, CreateIdentity::by_token(id, ttl)).await)?;
        }
        Err(e) => return Err(e),
    }
    if !engine.authz.administrators().await?.contains(&id) {
        let assignment = AssignRole::lasting(id.clone(), Role::Administrator, Scope::Everything);
        others_may_be_first(gate.perform(caller, &engine.authz, assignment).await)?;
    }
    gate.perform(caller, engine, CreateJoinToken { id, life: None }).await
}

/// Nodes that start together may both find that there is no administrator; whoever comes second finds it done.
fn others_may_be_first<T>(done: Result<T>) -> Result<()> {
    match done {
        Err(e) if e.kind() != Kind::Conflict => Err(e),
        Ok(_) | Err(_) => Ok(()),
    }
}
