//! The backup of a key with all its versions, and making it again from one.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::binding;
use super::create::first_slot;
use super::kind::{KeyOps, KeyProtection};
use super::repo::{self, Found, Slot};
use super::version::{Attributes, KeyDescribed, KeyVersion};
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
use crate::vault::retention::{Kept, absent};
use crate::vault::version::Tags;
use crate::vault::{Vault, domain};

/// What a backup says of a key, beside the private halves of its versions, in their order. Of a key of protection `hsm`
/// that is the key as the token wrapped it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    vault: Label,
    id: String,
    created: Timestamp,
    revision: u64,
    versions: Vec<KnownVersion>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KnownVersion {
    id: String,
    ordinal: u64,
    kind: String,
    protection: String,
    exportable: bool,
    enabled: bool,
    not_before: Option<Timestamp>,
    expires: Option<Timestamp>,
    ops: String,
    tags: Tags,
    public: Option<Vec<u8>>,
    created: Timestamp,
    created_by: String,
    updated: Timestamp,
}

impl From<&KeyVersion> for KnownVersion {
    fn from(version: &KeyVersion) -> Self {
        let attributes = &version.attributes;
        Self {
            id: version.id.to_string(),
            ordinal: version.ordinal,
            kind: version.kind.to_string(),
            protection: version.protection.to_string(),
            exportable: version.exportable,
            enabled: attributes.enabled,
            not_before: attributes.not_before,
            expires: attributes.expires,
            ops: attributes.ops.to_string(),
            tags: attributes.tags.clone(),
            public: version.public.clone(),
            created: version.created,
            created_by: version.created_by.clone(),
            updated: version.updated,
        }
    }
}

impl KnownVersion {
    fn version(&self) -> Result<KeyVersion> {
        Ok(KeyVersion {
            id: self.id.parse()?,
            ordinal: self.ordinal,
            kind: self.kind.parse()?,
            protection: self.protection.parse()?,
            exportable: self.exportable,
            attributes: Attributes {
                enabled: self.enabled,
                not_before: self.not_before,
                expires: self.expires,
                ops: self.ops.parse::<KeyOps>()?,
                tags: self.tags.clone(),
            },
            public: self.public.clone(),
            created: self.created,
            created_by: self.created_by.clone(),
            updated: self.updated,
        })
    }
}

/// Seals a key with all its versions, to be kept elsewhere. It opens only where the same token is.
pub struct BackupKey {
    /// Its vault.
    pub vault: Label,
    /// Its name.
    pub name: ObjectName,
}

impl Operation for BackupKey {
    const ACTION: Action = Action::BackupKey;
    const EFFECT: Effect = Effect::Read;
    type Engine = Vault;
    type Output = ObjectBackup;

    fn resource(&self) -> Resource {
        Resource::key(self.vault.clone(), self.name.clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<ObjectBackup> {
        let key = Key {
            vault: self.vault,
            name: self.name,
        };
        let whole = match repo::whole(&engine.store, &key, BACKUP_MAX_VERSIONS).await? {
            Found::Live(Some(whole)) => whole,
            Found::Live(None) => return Err(absent(Kept::Key, &key.vault, &key.name)),
            Found::Gone(fate) => return Err(engine.gone(&key, fate, permit).await),
        };
        let mut values = Vec::new();
        for row in &whole.rows {
            values.push(row.open(&engine.sealer).await?);
        }
        let known = Known {
            vault: key.vault,
            id: whole.id.to_string(),
            created: whole.created,
            revision: whole.revision,
            versions: whole.rows.iter().map(|row| KnownVersion::from(&row.version)).collect(),
        };
        let backup = ObjectBackup::seal(&engine.sealer, Kept::Key, key.name, &known, &values).await?;
        permit.note("versions", known.versions.len().to_string());
        permit.note("backup", backup.digest());
        Ok(backup)
    }
}

/// Makes a key again from its backup, with all its versions, under its own name, which must be free. It keeps its id, by
/// which ciphertexts name it: there is one of it at a time.
pub struct RestoreKey {
    /// Into which vault.
    pub vault: Label,
    /// The backup.
    pub backup: ObjectBackup,
}

impl Operation for RestoreKey {
    const ACTION: Action = Action::RestoreKey;
    const EFFECT: Effect = Effect::Change;
    type Engine = Vault;
    type Output = KeyDescribed;

    fn resource(&self) -> Resource {
        Resource::key(self.vault.clone(), self.backup.name().clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<KeyDescribed> {
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
        for (known, value) in known.versions.iter().zip(&values) {
            let version = known.version()?;
            if version.protection == KeyProtection::Hsm {
                // A token that this service does not trust with it is found out now, not at its first use.
                let public = version.public.as_deref();
                let ops = &version.attributes.ops;
                engine.keys.token.open(version.kind, ops, value, public).await?;
            }
        }
        let work = Arc::new(Work {
            id: known.id.parse()?,
            spare: Id::random(&*engine.entropy)?,
            sealing: engine.sealer.key(&domain(&key.vault)).await?,
            key,
            known,
            values,
            now,
        });
        let cache = engine.keys.cache.clone();
        fault::point("vault.restore.before");
        let restored = permit
            .commit(move |tx| {
                let (work, cache) = (work.clone(), cache.clone());
                Box::pin(async move {
                    let restored = work.write(tx).await?;
                    tx.touch(Topic::Keys);
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
    id: Id,
    /// Never stays in the store.
    spare: Id,
    sealing: SealingKey,
    known: Known,
    values: Vec<Secret>,
    now: Timestamp,
}

impl Work {
    async fn write(&self, tx: &Tx) -> Result<KeyDescribed> {
        let taken = "restore into another vault, or delete and purge it first";
        let is_there = repo::is_there(tx, &self.id).await?;
        let slot = match is_there {
            false => first_slot(tx, &self.key, &self.id, self.now, taken).await?,
            true => {
                // Which of the two stands in the way.
                first_slot(tx, &self.key, &self.spare, self.now, taken).await?;
                return Err(Error::conflict(
                    "the key that the backup was made of is still in this service, in another vault or under another \
                     name: its id is taken until it is purged",
                ));
            }
        };
        let mut latest = None;
        let revision = self.known.revision.saturating_add(1);
        let mut values = self.values.iter();
        for known in &self.known.versions {
            let version = known.version()?;
            let value = values
                .next()
                .ok_or_else(|| Error::invalid("the backup lacks the private half of one of its versions"))?;
            let sealed = self.sealing.seal(&binding(&self.key, &version), value)?;
            repo::insert_version(tx, &slot, &version, sealed).await?;
            latest = Some(version);
        }
        let version = latest.ok_or_else(|| Error::invalid("the backup has no versions"))?;
        let slot = Slot {
            ordinal: version.ordinal,
            revision,
            ..slot
        };
        repo::place(tx, &slot, self.known.created).await?;
        tx.note("version", version.ordinal.to_string());
        tx.note("type", version.kind.to_string());
        tx.note("protection", version.protection.to_string());
        Ok(KeyDescribed {
            id: self.id,
            name: self.key.name.clone(),
            revision,
            latest: version.ordinal,
            version,
        })
    }
}
