//! The backup of a secret with all its versions, and making it again from one.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::binding;
use super::change::repo::{self, Slot};
use super::label::{Pointers, VersionLabel};
use super::repo::{self as rows, Found};
use super::version::{Described, SecretAttributes, Version};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::fault;
use crate::gate::{Effect, Operation, Permit};
use crate::id::{Id, Label, ObjectName};
use crate::policy::{Action, Resource};
use crate::seal::SealingKey;
use crate::secret::Secret;
use crate::store::{Topic, Tx};
use crate::vault::backup::{BACKUP_MAX_VERSIONS, ObjectBackup};
use crate::vault::cache::Key;
use crate::vault::retention::repo::{Fate, fate};
use crate::vault::retention::{self, Kept};
use crate::vault::vaults::require_in;
use crate::vault::version::{Tags, VersionRef};
use crate::vault::{Vault, domain};

/// What a backup says of a secret, beside the values of those versions that have one, in the order of the versions.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    vault: Label,
    created: Timestamp,
    revision: u64,
    current: u64,
    previous: Option<u64>,
    labels: BTreeMap<VersionLabel, u64>,
    versions: Vec<KnownVersion>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KnownVersion {
    id: String,
    ordinal: u64,
    enabled: bool,
    not_before: Option<Timestamp>,
    expires: Option<Timestamp>,
    content_type: Option<String>,
    tags: Tags,
    created: Timestamp,
    created_by: String,
    updated: Timestamp,
    destroy: Option<Timestamp>,
    destroyed: Option<Timestamp>,
}

impl KnownVersion {
    fn new(version: &Version, now: Timestamp) -> Self {
        let attributes = &version.attributes;
        let is_destroyed = version.is_destroyed(now);
        Self {
            id: version.id.to_string(),
            ordinal: version.ordinal,
            enabled: attributes.enabled,
            not_before: attributes.not_before,
            expires: attributes.expires,
            content_type: attributes.content_type.as_ref().map(|it| it.as_str().to_owned()),
            tags: attributes.tags.clone(),
            created: version.created,
            created_by: version.created_by.clone(),
            updated: version.updated,
            destroy: version.destroy.filter(|_| !is_destroyed),
            destroyed: version.destroyed.or_else(|| version.destroy.filter(|_| is_destroyed)),
        }
    }

    fn version(&self) -> Result<Version> {
        Ok(Version {
            id: self.id.parse()?,
            ordinal: self.ordinal,
            attributes: SecretAttributes {
                enabled: self.enabled,
                not_before: self.not_before,
                expires: self.expires,
                content_type: self.content_type.as_deref().map(str::parse).transpose()?,
                tags: self.tags.clone(),
            },
            labels: Vec::new(),
            created: self.created,
            created_by: self.created_by.clone(),
            updated: self.updated,
            destroy: self.destroy,
            destroyed: self.destroyed,
        })
    }
}

/// Seals a secret with all its versions, to be kept elsewhere. It opens only where the same token is.
pub struct BackupSecret {
    /// Its vault.
    pub vault: Label,
    /// Its name.
    pub name: ObjectName,
}

impl Operation for BackupSecret {
    const ACTION: Action = Action::BackupSecret;
    const EFFECT: Effect = Effect::Read;
    type Engine = Vault;
    type Output = ObjectBackup;

    fn resource(&self) -> Resource {
        Resource::secret(self.vault.clone(), self.name.clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<ObjectBackup> {
        let key = Key {
            vault: self.vault,
            name: self.name,
        };
        let now = permit.now();
        let whole = match rows::whole(&engine.store, &key, BACKUP_MAX_VERSIONS).await? {
            Found::Live(Some(whole)) => whole,
            found => {
                let current = VersionRef::Current.into();
                return Err(engine.not_there(&key, found, &current, permit).await);
            }
        };
        let mut values = Vec::new();
        for row in &whole.rows {
            if !row.version.is_destroyed(now) {
                values.push(engine.sealer.open(&row.domain, &row.binding, &row.sealed).await?);
            }
        }
        let known = Known {
            vault: key.vault,
            created: whole.created,
            revision: whole.revision,
            current: whole.pointers.current,
            previous: whole.pointers.previous,
            labels: whole.pointers.others,
            versions: whole
                .rows
                .iter()
                .map(|row| KnownVersion::new(&row.version, now))
                .collect(),
        };
        let backup = ObjectBackup::seal(&engine.sealer, Kept::Secret, key.name, &known, &values).await?;
        permit.note("versions", known.versions.len().to_string());
        permit.note("backup", backup.digest());
        Ok(backup)
    }
}

/// Makes a secret again from its backup, with all its versions, under its own name, which must be free.
pub struct RestoreSecret {
    /// Into which vault.
    pub vault: Label,
    /// The backup.
    pub backup: ObjectBackup,
}

impl Operation for RestoreSecret {
    const ACTION: Action = Action::RestoreSecret;
    const EFFECT: Effect = Effect::Change;
    type Engine = Vault;
    type Output = Described;

    fn resource(&self) -> Resource {
        Resource::secret(self.vault.clone(), self.backup.name().clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<Described> {
        permit.note("backup", self.backup.digest());
        let key = Key {
            vault: self.vault,
            name: self.backup.name().clone(),
        };
        let now = permit.now();
        engine.require(&key.vault, now).await?;
        let (known, values): (Known, _) = self.backup.open(&engine.sealer).await?;
        permit.note("from", known.vault.to_string());
        permit.note("versions", known.versions.len().to_string());
        let millis = now.unix().saturating_mul(1000);
        let fresh = known.versions.iter().map(|_| Id::ordered(&*engine.entropy, millis));
        let work = Arc::new(Work {
            secret_id: Id::ordered(&*engine.entropy, millis)?,
            fresh: fresh.collect::<Result<_>>()?,
            sealing: engine.sealer.key(&domain(&key.vault)).await?,
            key,
            known,
            values,
            now,
        });
        let cache = engine.secrets.clone();
        fault::point("vault.restore.before");
        let restored = permit
            .commit(move |tx| {
                let (work, cache) = (work.clone(), cache.clone());
                Box::pin(async move {
                    let restored = work.write(tx).await?;
                    tx.touch(Topic::Secrets);
                    tx.on_commit(move || cache.changed(&work.key));
                    Ok(restored)
                })
            })
            .await?;
        fault::point("vault.restore.after");
        Ok(restored)
    }
}

/// One restore, as often as its transaction is run.
struct Work {
    key: Key,
    secret_id: Id,
    /// Ids for the versions, if their own are taken.
    fresh: Vec<Id>,
    sealing: SealingKey,
    known: Known,
    values: Vec<Secret>,
    now: Timestamp,
}

impl Work {
    async fn write(&self, tx: &Tx) -> Result<Described> {
        let Known {
            current,
            previous,
            labels,
            ..
        } = &self.known;
        let pointers = Pointers {
            current: *current,
            previous: *previous,
            others: labels.clone(),
        };
        let mut versions = self
            .known
            .versions
            .iter()
            .map(KnownVersion::version)
            .collect::<Result<Vec<_>>>()?;
        let taken = self.slot(tx).await?;
        // Beside the secret that the backup was made of, its copy has versions of its own.
        let ids: Vec<_> = versions.iter().map(|version| version.id.to_string()).collect();
        if repo::is_any_there(tx, &ids).await? {
            for (version, id) in versions.iter_mut().zip(&self.fresh) {
                version.id = *id;
            }
        }
        let latest = versions.iter().map(|version| version.ordinal).max().unwrap_or(1);
        let slot = Slot {
            latest,
            pointers,
            ..taken
        };
        let revision = self.known.revision.saturating_add(1);
        repo::write_pointers(tx, &slot).await?;
        repo::place(tx, &slot, revision, self.known.created).await?;
        let mut values = self.values.iter();
        let mut shown = None;
        for version in versions {
            let sealed = match version.destroyed {
                Some(_) => Vec::new(),
                None => {
                    let value = values
                        .next()
                        .ok_or_else(|| Error::invalid("the backup lacks the value of one of its versions"))?;
                    self.sealing.seal(&binding(&self.key.name, &version), value)?
                }
            };
            repo::insert_version(tx, &slot, &version, sealed, None).await?;
            if version.ordinal == slot.pointers.current {
                shown = Some(version);
            }
        }
        let mut version = shown.ok_or_else(|| Error::invalid("the backup lacks the current version"))?;
        version.labels = slot.pointers.of(version.ordinal);
        tx.note("version", version.ordinal.to_string());
        Ok(Described {
            name: self.key.name.clone(),
            created: self.known.created,
            updated: self.now,
            revision,
            version,
        })
    }

    /// A place for the secret; also where a deleted one of that name is no longer kept.
    async fn slot(&self, tx: &Tx) -> Result<Slot> {
        let Key { vault, name } = &self.key;
        if let Some(slot) = repo::take_first_slot(tx, &self.key, &self.secret_id, self.now).await? {
            return Ok(slot);
        }
        require_in(tx, vault, self.now).await?;
        match fate(tx.conn(), Kept::Secret, &self.key).await? {
            Fate::Deleted(deleted) if deleted.is_kept(self.now) => Err(deleted.conflict(Kept::Secret, vault)),
            Fate::Deleted(_) => {
                retention::repo::purge(tx, Kept::Secret, &self.key, self.now).await?;
                repo::take_first_slot(tx, &self.key, &self.secret_id, self.now)
                    .await?
                    .ok_or_else(|| Error::internal(format!("secret `{name}` of vault `{vault}` is still there")))
            }
            Fate::Live | Fate::Nothing => Err(Error::conflict(format!(
                "vault `{vault}` has a secret `{name}` already: restore into another vault, or delete and purge it first"
            ))),
        }
    }
}
