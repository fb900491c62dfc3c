//! What is refused although a profile would allow it: issuing that was stopped, and keys that are blocked.
//!
//! Both stand in the store and hold on every node from its next certificate on. Reads, revocation lists and answers about
//! revocation go on; so does the service's own listener, whose certificate would end in a long stop.

mod repo;

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use futures::FutureExt;

use super::Authority;
use crate::clock::Timestamp;
use crate::error::{Error, Kind, Result};
use crate::gate::{Effect, Operation, Permit};
use crate::id::Label;
use crate::policy::{Action, Principal, Resource, system};
use crate::store::{Store, Topic, Tx};

/// How soon a caller that meets a stop may ask again.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// The longest reason, in bytes.
const REASON_MAX: usize = 500;

/// Issuing is stopped for an authority, for a profile, for a profile of an authority, or altogether.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Which authority; all if none is named.
    pub authority: Option<Label>,
    /// Which profile; all if none is named.
    pub profile: Option<Label>,
    /// Why, for people; told to whoever is refused.
    pub reason: String,
    /// Since when.
    pub stopped_at: Timestamp,
    /// Who said so.
    pub stopped_by: String,
}

/// A key that is never certified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockedKey {
    /// SHA-256 of its `SubjectPublicKeyInfo`, hexadecimal.
    pub spki_sha256: String,
    /// Why, for people.
    pub reason: String,
    /// Since when.
    pub blocked_at: Timestamp,
    /// Who said so.
    pub blocked_by: String,
}

/// The stops that this node knows of.
#[derive(Default)]
pub(super) struct Halts {
    stops: RwLock<Vec<Stop>>,
}

impl Halts {
    /// Takes over what other nodes said.
    pub(super) async fn reload(&self, store: &Store) -> Result<()> {
        let stops = repo::stops(store.read()).await?;
        *self.stops.write().unwrap_or_else(PoisonError::into_inner) = stops;
        Ok(())
    }

    /// Whether `caller` may have something issued now.
    pub(super) fn check(&self, authority: &Label, profile: &Label, caller: &Principal) -> Result<()> {
        if *caller == Principal::System(system::SERVER) {
            return Ok(());
        }
        let stops = self.stops.read().unwrap_or_else(PoisonError::into_inner);
        let meets = |stop: &&Stop| {
            stop.authority.as_ref().is_none_or(|name| name == authority)
                && stop.profile.as_ref().is_none_or(|name| name == profile)
        };
        match stops.iter().find(meets) {
            None => Ok(()),
            Some(stop) => Err(Error::unavailable(format!(
                "issuing is stopped since {}: {}; ask again once `ca resume-issuing` was said",
                stop.stopped_at, stop.reason
            ))
            .retry_after(ASK_AGAIN)),
        }
    }
}

fn checked_reason(reason: &str) -> Result<()> {
    if (1..=REASON_MAX).contains(&reason.len()) && !reason.contains(char::is_control) {
        Ok(())
    } else {
        Err(Error::invalid(format!(
            "a reason is a line of 1 to {REASON_MAX} bytes that tells others why"
        )))
    }
}

/// Stops issuing, on every node before its next certificate.
#[derive(Clone, Debug)]
pub struct StopIssuing {
    /// Of which authority; of all if none is named.
    pub authority: Option<Label>,
    /// By which profile; by all if none is named.
    pub profile: Option<Label>,
    /// Why.
    pub reason: String,
}

/// Takes exactly that stop back.
#[derive(Clone, Debug)]
pub struct ResumeIssuing {
    /// Of which authority.
    pub authority: Option<Label>,
    /// By which profile.
    pub profile: Option<Label>,
}

/// Lists where issuing is stopped.
#[derive(Clone, Copy, Debug)]
pub struct ListStops;

fn scope(authority: Option<&Label>) -> Resource {
    authority.map_or(Resource::Everything, Authority::resource)
}

impl Authority {
    async fn check_scope(&self, authority: Option<&Label>, profile: Option<&Label>) -> Result<()> {
        if let Some(name) = authority {
            self.is_called(name).await?;
        }
        profile.map_or(Ok(()), |name| self.profile(name).map(|_| ()))
    }

    /// Stops issuing with a commit. `false`: it is stopped there already.
    pub(super) async fn stop_in(&self, tx: &Tx, stop: Stop) -> Result<bool> {
        if !repo::insert_stop(tx, &stop).await? {
            return Ok(false);
        }
        tx.touch(Topic::Authorities);
        let engine = self.clone();
        tx.on_commit(move || {
            let mut stops = engine.0.halts.stops.write().unwrap_or_else(PoisonError::into_inner);
            stops.push(stop);
        });
        Ok(true)
    }
}

impl Operation for StopIssuing {
    const ACTION: Action = Action::StopIssuing;
    const EFFECT: Effect = Effect::Change;
    type Engine = Authority;
    type Output = Stop;

    fn resource(&self) -> Resource {
        scope(self.authority.as_ref())
    }

    async fn run(self, engine: &Authority, permit: &Permit) -> Result<Stop> {
        engine
            .check_scope(self.authority.as_ref(), self.profile.as_ref())
            .await?;
        checked_reason(&self.reason)?;
        permit.note("reason_given", self.reason.clone());
        if let Some(profile) = &self.profile {
            permit.note("profile", profile.to_string());
        }
        let stop = Stop {
            authority: self.authority,
            profile: self.profile,
            reason: self.reason,
            stopped_at: permit.now(),
            stopped_by: permit.caller().principal.to_string(),
        };
        let engine = engine.clone();
        permit
            .commit(move |tx| {
                let (engine, stop) = (engine.clone(), stop.clone());
                async move {
                    if !engine.stop_in(tx, stop.clone()).await? {
                        return Err(Error::conflict(
                            "issuing is stopped there already: nothing is left to do",
                        ));
                    }
                    Ok(stop)
                }
                .boxed()
            })
            .await
    }
}

impl Operation for ResumeIssuing {
    const ACTION: Action = Action::ResumeIssuing;
    const EFFECT: Effect = Effect::Change;
    type Engine = Authority;
    type Output = ();

    fn resource(&self) -> Resource {
        scope(self.authority.as_ref())
    }

    async fn run(self, engine: &Authority, permit: &Permit) -> Result<()> {
        let engine = engine.clone();
        if let Some(profile) = &self.profile {
            permit.note("profile", profile.to_string());
        }
        permit
            .commit(move |tx| {
                let (engine, of) = (engine.clone(), self.clone());
                async move {
                    if !repo::delete_stop(tx, of.authority.as_ref(), of.profile.as_ref()).await? {
                        return Err(Error::new(
                            Kind::NotFound,
                            "issuing is not stopped there: `ca stops` lists where it is",
                        ));
                    }
                    tx.touch(Topic::Authorities);
                    tx.on_commit(move || {
                        let mut stops = engine.0.halts.stops.write().unwrap_or_else(PoisonError::into_inner);
                        stops.retain(|stop| stop.authority != of.authority || stop.profile != of.profile);
                    });
                    Ok(())
                }
                .boxed()
            })
            .await
    }
}

impl Operation for ListStops {
    const ACTION: Action = Action::ListStops;
    const EFFECT: Effect = Effect::Read;
    type Engine = Authority;
    type Output = Vec<Stop>;

    fn resource(&self) -> Resource {
        Resource::Everything
    }

    async fn run(self, engine: &Authority, _permit: &Permit) -> Result<Vec<Stop>> {
        repo::stops(engine.0.gate.store().read()).await
    }
}

/// Blocks a key: it is never certified again, by any authority. What was certified for it before stays valid.
#[derive(Clone, Debug)]
pub struct BlockKey {
    /// SHA-256 of its `SubjectPublicKeyInfo`, hexadecimal.
    pub spki_sha256: String,
    /// Why.
    pub reason: String,
}

/// Lists blocked keys, by their hash.
#[derive(Clone, Debug)]
pub struct ListBlockedKeys {
    /// The last hash of the page before.
    pub after: Option<String>,
    /// How many at most.
    pub limit: u32,
}

impl Operation for BlockKey {
    const ACTION: Action = Action::BlockKey;
    const EFFECT: Effect = Effect::Change;
    type Engine = Authority;
    type Output = BlockedKey;

    fn resource(&self) -> Resource {
        Resource::Everything
    }

    async fn run(self, _engine: &Authority, permit: &Permit) -> Result<BlockedKey> {
        let spki_sha256 = self.spki_sha256.to_ascii_lowercase();
        if spki_sha256.len() != 64 || !spki_sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Error::invalid(
                "a key is named by the SHA-256 of its SubjectPublicKeyInfo: give 64 hexadecimal digits",
            ));
        }
        checked_reason(&self.reason)?;
        permit.note("spki_sha256", spki_sha256.clone());
        permit.note("reason_given", self.reason.clone());
        let key = BlockedKey {
            spki_sha256,
            reason: self.reason,
            blocked_at: permit.now(),
            blocked_by: permit.caller().principal.to_string(),
        };
        permit
            .commit(move |tx| {
                let key = key.clone();
                async move {
                    if !repo::insert_blocked(tx, &key).await? {
                        return Err(Error::conflict("this key is blocked already: nothing is left to do"));
                    }
                    Ok(key)
                }
                .boxed()
            })
            .await
    }
}

impl Operation for ListBlockedKeys {
    const ACTION: Action = Action::ListBlockedKeys;
    const EFFECT: Effect = Effect::Read;
    type Engine = Authority;
    type Output = Vec<BlockedKey>;

    fn resource(&self) -> Resource {
        Resource::Everything
    }

    async fn run(self, engine: &Authority, _permit: &Permit) -> Result<Vec<BlockedKey>> {
        repo::blocked(engine.0.gate.store().read(), self.after.as_deref(), self.limit).await
    }
}

/// Blocks a key as another node does, in the midst of something else.
#[cfg(test)]
pub(super) async fn block(tx: &crate::store::Tx, spki_sha256: &str) -> Result<()> {
    let key = BlockedKey {
        spki_sha256: spki_sha256.to_owned(),
        reason: "lost".to_owned(),
        blocked_at: Timestamp::from_unix(0),
        blocked_by: "another".to_owned(),
    };
    repo::insert_blocked(tx, &key).await.map(|_| ())
}
