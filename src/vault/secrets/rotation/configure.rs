//! What callers ask of rotations: set, shown, taken away, begun now.

use std::sync::Arc;

use futures::FutureExt;

use super::repo;
use super::{Rotation, RotationPolicy, Step};
use crate::clock::Timestamp;
use crate::entropy;
use crate::error::{Error, Result};
use crate::gate::{Effect, Operation, Permit};
use crate::id::{Label, ObjectName};
use crate::policy::{Action, Resource};
use crate::store::Tx;
use crate::vault::Vault;
use crate::vault::cache::Key;
use crate::vault::retention::{Kept, absent};
use crate::vault::secrets::describe::there;
use crate::vault::secrets::label::{VersionLabel, WhichVersion};
use crate::vault::secrets::repo as rows;
use crate::vault::secrets::version::Version;
use crate::vault::vaults::require_in;
use crate::vault::version::VersionRef;

/// Says how a secret is rotated. What is under way goes on by the new policy.
pub struct SetSecretRotation {
    /// Its vault.
    pub vault: Label,
    /// Its name.
    pub name: ObjectName,
    /// How it is rotated.
    pub policy: RotationPolicy,
}

impl Operation for SetSecretRotation {
    const ACTION: Action = Action::SetSecretRotation;
    const EFFECT: Effect = Effect::Change;
    type Engine = Vault;
    type Output = Rotation;

    fn resource(&self) -> Resource {
        Resource::secret(self.vault.clone(), self.name.clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<Rotation> {
        let policy = self.policy;
        let key = key(self.vault, self.name);
        engine.rotators.admit(&policy.rotator, &key.vault)?;
        // Rules by which nothing can be made are refused now, not at the first rotation.
        drop(policy.generate.value(permit.entropy())?);
        permit.note("rotator", policy.rotator.to_string());
        permit.note("schedule", policy.schedule.to_string());
        let (now, draw) = (permit.now(), draw(permit)?);
        let by = permit.caller().principal.to_string();
        let work = Arc::new((key, policy, by));
        let wake = engine.wake.clone();
        permit
            .commit(move |tx| {
                let (work, wake) = (work.clone(), wake.clone());
                async move {
                    let (key, policy, by) = &*work;
                    let (secret_id, _) = current(tx, key, now).await?;
                    let set = match repo::locked(tx, &secret_id).await? {
                        None => {
                            let begins = policy.schedule.next(now, now, draw)?;
                            let made = Rotation {
                                vault: key.vault.clone(),
                                name: key.name.clone(),
                                policy: policy.clone(),
                                step: None,
                                version: None,
                                due: Some(begins),
                                next: Some(begins),
                                failures: 0,
                                paused: false,
                                last_error: None,
                                rotated: None,
                                created: now,
                                created_by: by.clone(),
                                updated: now,
                                secret_id,
                                old: None,
                            };
                            repo::insert(tx, &made).await?;
                            made
                        }
                        Some(before) => replaced(tx, before, policy, now, draw).await?,
                    };
                    tx.on_commit(move || wake.notify_one());
                    Ok(set)
                }
                .boxed()
            })
            .await
    }
}

/// A policy in the place of the one before. The same schedule again puts nothing off.
async fn replaced(tx: &Tx, before: Rotation, policy: &RotationPolicy, now: Timestamp, draw: u64) -> Result<Rotation> {
    let mut set = Rotation {
        policy: policy.clone(),
        updated: now,
        ..before
    };
    repo::write_policy(tx, &set).await?;
    if before.policy.schedule != policy.schedule && set.step.is_none() {
        set.due = Some(policy.schedule.next(set.rotated.unwrap_or(now), now, draw)?);
        if !set.paused {
            set.next = set.due;
        }
        repo::write_state(tx, &set).await?;
    }
    Ok(set)
}

/// Takes a secret's rotation policy away. A version that is pending stays, with its label.
pub struct RemoveSecretRotation {
    /// Its vault.
    pub vault: Label,
    /// Its name.
    pub name: ObjectName,
}

impl Operation for RemoveSecretRotation {
    const ACTION: Action = Action::RemoveSecretRotation;
    const EFFECT: Effect = Effect::Change;
    type Engine = Vault;
    type Output = ();

    fn resource(&self) -> Resource {
        Resource::secret(self.vault.clone(), self.name.clone())
    }

    async fn run(self, _: &Vault, permit: &Permit) -> Result<()> {
        let (now, key) = (permit.now(), Arc::new(key(self.vault, self.name)));
        permit
            .commit(move |tx| {
                let key = key.clone();
                async move {
                    let (secret_id, _) = current(tx, &key, now).await?;
                    match repo::remove(tx, &secret_id).await? {
                        true => Ok(()),
                        false => Err(none(&key)),
                    }
                }
                .boxed()
            })
            .await
    }
}

/// Shows how a secret is rotated, and how far its rotation has come.
pub struct ShowSecretRotation {
    /// Its vault.
    pub vault: Label,
    /// Its name.
    pub name: ObjectName,
}

impl Operation for ShowSecretRotation {
    const ACTION: Action = Action::ShowSecret;
    const EFFECT: Effect = Effect::Read;
    type Engine = Vault;
    type Output = Rotation;

    fn resource(&self) -> Resource {
        Resource::secret(self.vault.clone(), self.name.clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<Rotation> {
        let key = key(self.vault, self.name);
        engine.require(&key.vault, permit.now()).await?;
        let id = repo::find(&engine.store, &key).await?;
        let id = id.ok_or_else(|| absent(Kept::Secret, &key.vault, &key.name))?;
        repo::show(&engine.store, &id).await?.ok_or_else(|| none(&key))
    }
}

/// Begins a secret's rotation now, or lets one go on that is paused or waits for its next try.
pub struct RotateSecret {
    /// Its vault.
    pub vault: Label,
    /// Its name.
    pub name: ObjectName,
}

impl Operation for RotateSecret {
    const ACTION: Action = Action::RotateSecret;
    const EFFECT: Effect = Effect::Change;
    type Engine = Vault;
    type Output = Rotation;

    fn resource(&self) -> Resource {
        Resource::secret(self.vault.clone(), self.name.clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<Rotation> {
        let (now, key) = (permit.now(), Arc::new(key(self.vault, self.name)));
        let wake = engine.wake.clone();
        permit
            .commit(move |tx| {
                let (key, wake) = (key.clone(), wake.clone());
                async move {
                    let (secret_id, version) = current(tx, &key, now).await?;
                    version.check_readable(&key, now)?;
                    let mut row = repo::locked(tx, &secret_id).await?.ok_or_else(|| none(&key))?;
                    let pending = pending(tx, &key, now).await?;
                    // What was pending and is so no more was given up by whoever took its label away.
                    if row.step.is_none() || pending.as_ref().map(|it| it.id) != row.version {
                        vacant(&key, pending.as_ref())?;
                        row.step = Some(Step::Pending);
                        row.version = None;
                        row.old = None;
                    }
                    row.next = Some(now);
                    row.failures = 0;
                    row.paused = false;
                    row.updated = now;
                    repo::write_state(tx, &row).await?;
                    tx.note("step", row.at().as_str());
                    tx.on_commit(move || wake.notify_one());
                    Ok(row)
                }
                .boxed()
            })
            .await
    }
}

fn key(vault: Label, name: ObjectName) -> Key {
    Key { vault, name }
}

fn none(key: &Key) -> Error {
    Error::not_found(format!(
        "secret `{}` of vault `{}` has no rotation policy: set one first",
        key.name, key.vault
    ))
}

/// A random number over all of `u64`.
fn draw(permit: &Permit) -> Result<u64> {
    entropy::bytes(permit.entropy()).map(u64::from_be_bytes)
}

/// A secret's id and its current version.
async fn current(tx: &Tx, key: &Key, now: Timestamp) -> Result<(String, Version)> {
    require_in(tx, &key.vault, now).await?;
    let wanted = WhichVersion::Version(VersionRef::Current);
    let found = there(rows::described(tx.conn(), key, &wanted).await?, key, &wanted, now)?;
    let id = repo::id_of(tx.conn(), key).await?;
    let id = id.ok_or_else(|| absent(Kept::Secret, &key.vault, &key.name))?;
    Ok((id, found.version))
}

/// The version with the label `AWSPENDING`, unless it is the current one.
pub(super) async fn pending(tx: &Tx, key: &Key, now: Timestamp) -> Result<Option<Version>> {
    let wanted = WhichVersion::Label(VersionLabel::pending());
    match rows::described(tx.conn(), key, &wanted).await? {
        rows::Found::Live(None) => Ok(None),
        found => {
            let version = there(found, key, &wanted, now)?.version;
            Ok((!version.is_current()).then_some(version))
        }
    }
}

/// Checks that nobody has put a version of their own where a rotation puts its.
///
/// # Errors
/// `Conflict`.
pub(super) fn vacant(key: &Key, pending: Option<&Version>) -> Result<()> {
    match pending {
        None => Ok(()),
        Some(version) => Err(Error::conflict(format!(
            "`{}` points at version {} of secret `{}` of vault `{}` already: make that the current one or take the \
             label away, then rotate",
            VersionLabel::PENDING,
            version.ordinal,
            key.name,
            key.vault
        ))),
    }
}
