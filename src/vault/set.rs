//! Setting a secret: a new version, which becomes the current one.

use std::sync::Arc;

use super::cache::Key;
use super::repo::{self, Found, Slot};
use super::retention::{self, Kept};
use super::version::{ContentType, Tags, Version, VersionRef};
use super::{Vault, binding, domain};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::fault;
use crate::gate::{Effect, Operation, Permit};
use crate::id::{Id, Label, ObjectName};
use crate::policy::{Action, Resource};
use crate::seal::SealingKey;
use crate::secret::Secret;
use crate::store::{Topic, Tx};

/// The largest value, in bytes.
pub const VALUE_MAX_BYTES: usize = 64 * 1024;

/// What must be so for a set to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The secret does not exist.
    Absent,
    /// Nothing.
    Anything,
    /// This version is current; any existing one with [`VersionRef::Current`].
    Version(VersionRef),
}

/// Sets a secret's value.
pub struct SetSecret {
    /// Its vault.
    pub vault: Label,
    /// Its name.
    pub name: ObjectName,
    /// The value, at most [`VALUE_MAX_BYTES`] bytes, kept exactly.
    pub value: Secret,
    /// What the value is.
    pub content_type: Option<ContentType>,
    /// Notes beside it.
    pub tags: Tags,
    /// What must be so; `Conflict` if it is not.
    pub expect: Expect,
}

impl Operation for SetSecret {
    const ACTION: Action = Action::SetSecret;
    const EFFECT: Effect = Effect::Change;
    type Engine = Vault;
    type Output = Version;

    fn resource(&self) -> Resource {
        Resource::secret(self.vault.clone(), self.name.clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<Version> {
        if self.value.len() > VALUE_MAX_BYTES {
            return Err(Error::invalid(format!(
                "the value has {} bytes: a secret holds at most {VALUE_MAX_BYTES}",
                self.value.len()
            )));
        }
        let domain = domain(&self.vault);
        if !engine.sealer.has(&domain) {
            // Before a data key is made for a vault that is not there.
            engine.require(&self.vault).await?;
        }
        let now = permit.now();
        let millis = now.unix().saturating_mul(1000);
        let work = Arc::new(Work {
            secret_id: Id::ordered(&*engine.entropy, millis)?,
            version_id: Id::ordered(&*engine.entropy, millis)?,
            key: Key {
                vault: self.vault,
                name: self.name,
            },
            sealing: engine.sealer.key(&domain).await?,
            value: self.value,
            content_type: self.content_type,
            tags: self.tags,
            expect: self.expect,
            now,
            by: permit.caller().principal.to_string(),
        });
        let cache = engine.cache.clone();
        fault::point("vault.set.before");
        let version = permit
            .commit(move |tx| {
                let (work, cache) = (work.clone(), cache.clone());
                Box::pin(async move {
                    let version = work.write(tx).await?;
                    tx.note("version", version.ordinal.to_string());
                    tx.touch(Topic::Secrets);
                    tx.on_commit(move || cache.changed(&work.key));
                    Ok(version)
                })
            })
            .await?;
        fault::point("vault.set.after");
        Ok(version)
    }
}

/// One set, as often as its transaction is run.
struct Work {
    key: Key,
    secret_id: Id,
    version_id: Id,
    sealing: SealingKey,
    value: Secret,
    content_type: Option<ContentType>,
    tags: Tags,
    expect: Expect,
    now: Timestamp,
    by: String,
}

impl Work {
    async fn write(&self, tx: &Tx) -> Result<Version> {
        let slot = match self.slot(tx).await? {
            Some(slot) => slot,
            None => self.slot_otherwise(tx).await?,
        };
        let version = Version {
            id: self.version_id,
            ordinal: u64::try_from(slot.ordinal).map_err(|e| Error::internal("an ordinal is negative").because(e))?,
            content_type: self.content_type.clone(),
            tags: self.tags.clone(),
            created: self.now,
            created_by: self.by.clone(),
        };
        let sealed = self.sealing.seal(&binding(&self.key.name, &version), &self.value)?;
        repo::insert_version(tx, &slot, &version, sealed).await?;
        Ok(version)
    }

    async fn slot(&self, tx: &Tx) -> Result<Option<Slot>> {
        match self.expect {
            Expect::Absent => repo::take_first_slot(tx, &self.key, &self.secret_id, self.now).await,
            Expect::Anything => repo::take_slot(tx, &self.key, &self.secret_id, self.now).await,
            Expect::Version(VersionRef::Ordinal(ordinal)) => {
                repo::take_slot_after(tx, &self.key, ordinal, self.now).await
            }
            Expect::Version(wanted) => match repo::described(tx.conn(), &self.key).await? {
                Found::Live(Some(found)) if wanted.is_met_by(&found.current) => {
                    repo::take_slot_after(tx, &self.key, found.current.ordinal, self.now).await
                }
                _ => Ok(None),
            },
        }
    }

    /// Why there was no slot; or one after all, where a deleted secret of that name is no longer kept.
    async fn slot_otherwise(&self, tx: &Tx) -> Result<Slot> {
        let Key { vault, name } = &self.key;
        match (repo::described(tx.conn(), &self.key).await?, self.expect) {
            (Found::Deleted(deleted), Expect::Absent | Expect::Anything) if !deleted.is_kept(self.now) => {
                retention::repo::purge(tx, Kept::Secret, &self.key, self.now).await?;
                self.slot(tx)
                    .await?
                    .ok_or_else(|| Error::internal(format!("secret `{name}` of vault `{vault}` is still there")))
            }
            (Found::Deleted(deleted), _) if deleted.is_kept(self.now) => Err(deleted.conflict(Kept::Secret, vault)),
            (Found::Live(Some(found)), _) => Err(Error::conflict(format!(
                "secret `{name}` of vault `{vault}` is at version {}, which is not what you expect: read it and decide \
                 again",
                found.current.ordinal
            ))),
            (Found::Nothing | Found::Deleted(_) | Found::Live(None), _) => Err(Error::conflict(format!(
                "vault `{vault}` has no secret `{name}` yet, where you expect a version: set it without that"
            ))),
        }
    }
}
