//! Making keys, and giving them new versions.

use std::sync::Arc;

use super::binding;
use super::describe::there;
use super::kind::{KeyKind, KeyOp, KeyOps, KeyProtection};
use super::material::Fresh;
use super::repo::{self, Slot};
use super::version::{Attributes, KeyDescribed, KeyVersion};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::fault;
use crate::gate::{Effect, Operation, Permit};
use crate::id::{Id, Label, ObjectName};
use crate::policy::{Action, Resource};
use crate::seal::SealingKey;
use crate::store::{Topic, Tx};
use crate::vault::cache::Key;
use crate::vault::retention::repo::{Fate, fate};
use crate::vault::retention::{self, Kept, stale};
use crate::vault::vaults::require_in;
use crate::vault::version::{Tags, VersionRef};
use crate::vault::{Vault, domain};

/// What is said of a new key, however it comes to be.
pub struct NewKey {
    /// Where its private half is kept and used.
    pub protection: KeyProtection,
    /// Whether its private half may be exported; one in the token never is.
    pub exportable: bool,
    /// What it may be used for; all that its kind can if nothing is said.
    pub ops: Option<Vec<KeyOp>>,
    /// Whether it may be used at all.
    pub enabled: bool,
    /// Before, it makes nothing.
    pub not_before: Option<Timestamp>,
    /// From then on, it makes nothing.
    pub expires: Option<Timestamp>,
    /// Notes beside it.
    pub tags: Tags,
}

/// Makes a key, with a first version.
pub struct CreateKey {
    /// Its vault.
    pub vault: Label,
    /// Its name, which must be free.
    pub name: ObjectName,
    /// What sort of key.
    pub kind: KeyKind,
    /// What else.
    pub new: NewKey,
}

impl Operation for CreateKey {
    const ACTION: Action = Action::CreateKey;
    const EFFECT: Effect = Effect::Change;
    type Engine = Vault;
    type Output = KeyDescribed;

    fn resource(&self) -> Resource {
        Resource::key(self.vault.clone(), self.name.clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<KeyDescribed> {
        let key = Key {
            vault: self.vault,
            name: self.name,
        };
        engine.create_key(key, self.kind, self.new, None, permit).await
    }
}

impl Vault {
    /// Makes a key, or keeps the one that is given.
    pub(super) async fn create_key(
        &self,
        key: Key,
        kind: KeyKind,
        new: NewKey,
        given: Option<Fresh>,
        permit: &Permit,
    ) -> Result<KeyDescribed> {
        let attributes = Attributes {
            enabled: new.enabled,
            not_before: new.not_before,
            expires: new.expires,
            ops: match new.ops {
                Some(ops) => KeyOps::new(kind, ops)?,
                None => KeyOps::all(kind),
            },
            tags: new.tags,
        }
        .checked()?;
        let sort = Sort {
            kind,
            protection: new.protection,
            exportable: new.exportable,
        }
        .checked()?;
        if !self.sealer.has(&domain(&key.vault)) {
            // Before a data key is made for a vault that is not there.
            self.require(&key.vault, permit.now()).await?;
        }
        let work = Arc::new(Work::begin(self, permit, key, sort, &attributes.ops, given).await?);
        let cache = self.keys.cache.clone();
        fault::point("vault.key.before");
        let made = permit
            .commit(move |tx| {
                let (work, cache, attributes) = (work.clone(), cache.clone(), attributes.clone());
                Box::pin(async move {
                    let slot = first_slot(
                        tx,
                        &work.key,
                        &work.key_id,
                        work.now,
                        "rotate it, import a new version of it, or choose another name",
                    )
                    .await?;
                    let made = work.write(tx, &slot, attributes).await?;
                    tx.on_commit(move || cache.changed(&work.key));
                    Ok(made)
                })
            })
            .await?;
        fault::point("vault.key.after");
        Ok(made)
    }
}

/// What stays the same of a key through all its versions.
#[derive(Clone, Copy)]
struct Sort {
    kind: KeyKind,
    protection: KeyProtection,
    exportable: bool,
}

impl Sort {
    fn checked(self) -> Result<Self> {
        match (self.protection, self.exportable) {
            (KeyProtection::Hsm, true) => Err(Error::invalid(
                "a key of protection `hsm` never leaves the token: make it without `exportable`, or with `software`",
            )),
            _ => Ok(self),
        }
    }
}

/// Gives a key a new version of the same kind and protection, which becomes the current one. Its uses and tags are those of the version
/// before; it is enabled, and its time begins at once.
pub struct RotateKey {
    /// Its vault.
    pub vault: Label,
    /// Its name.
    pub name: ObjectName,
    /// When the new version expires.
    pub expires: Option<Timestamp>,
    /// The key's revision; `Conflict` if it is another.
    pub expect: Option<u64>,
}

impl Operation for RotateKey {
    const ACTION: Action = Action::RotateKey;
    const EFFECT: Effect = Effect::Change;
    type Engine = Vault;
    type Output = KeyDescribed;

    fn resource(&self) -> Resource {
        Resource::key(self.vault.clone(), self.name.clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<KeyDescribed> {
        let key = Key {
            vault: self.vault,
            name: self.name,
        };
        let next = NewVersion {
            expires: self.expires,
            ..NewVersion::default()
        };
        engine.advance_key(key, next, None, self.expect, permit).await
    }
}

/// What is said of a key's next version; the rest is as in the version before.
#[derive(Clone)]
pub struct NewVersion {
    /// Where its private half is kept, which must be where the key's other versions are.
    pub protection: Option<KeyProtection>,
    /// Whether its private half may be exported, which the key must allow already.
    pub exportable: bool,
    /// What it may be used for.
    pub ops: Option<Vec<KeyOp>>,
    /// Whether it may be used at all.
    pub enabled: bool,
    /// Before, it makes nothing.
    pub not_before: Option<Timestamp>,
    /// From then on, it makes nothing.
    pub expires: Option<Timestamp>,
    /// Notes beside it.
    pub tags: Option<Tags>,
}

impl Default for NewVersion {
    fn default() -> Self {
        Self {
            protection: None,
            exportable: false,
            ops: None,
            enabled: true,
            not_before: None,
            expires: None,
            tags: None,
        }
    }
}

impl NewVersion {
    /// Checks that it can follow `before`, of which it says nothing else.
    fn follows(&self, before: &KeyVersion, given: Option<KeyKind>) -> Result<()> {
        if let Some(kind) = given.filter(|kind| *kind != before.kind) {
            return Err(Error::invalid(format!(
                "the versions of this key are of type `{}`, and the one that is brought is of type `{kind}`: import it \
                 under a name of its own",
                before.kind
            )));
        }
        if self.protection.is_some_and(|asked| asked != before.protection) {
            return Err(Error::invalid(format!(
                "the versions of this key have protection `{}`: leave `protection` out, or import it under a name of its own",
                before.protection
            )));
        }
        if self.exportable && !before.exportable {
            return Err(Error::invalid(
                "this key was made without `exportable`, and so are its later versions: leave it out, or import it under \
                 a name of its own",
            ));
        }
        Ok(())
    }

    fn after(&self, before: KeyVersion) -> Result<Attributes> {
        Attributes {
            enabled: self.enabled,
            not_before: self.not_before,
            expires: self.expires,
            ops: match &self.ops {
                Some(ops) => KeyOps::new(before.kind, ops.clone())?.follow(&before.attributes.ops)?,
                None => before.attributes.ops,
            },
            tags: self.tags.clone().unwrap_or(before.attributes.tags),
        }
        .checked()
    }
}

impl Vault {
    /// Gives a key its next version, made here or the one that is given.
    pub(super) async fn advance_key(
        &self,
        key: Key,
        next: NewVersion,
        given: Option<(KeyKind, Fresh)>,
        expect: Option<u64>,
        permit: &Permit,
    ) -> Result<KeyDescribed> {
        let KeyDescribed {
            id, version: before, ..
        } = self.described_key(&key, VersionRef::Current, permit).await?;
        let (kind, given) = given.unzip();
        next.follows(&before, kind)?;
        let sort = Sort {
            kind: before.kind,
            protection: before.protection,
            exportable: before.exportable,
        };
        let ops = next.after(before)?.ops;
        let work = Arc::new(Work::begin(self, permit, key, sort, &ops, given).await?);
        let cache = self.keys.cache.clone();
        fault::point("vault.key.before");
        let made = permit
            .commit(move |tx| {
                let (work, cache, next) = (work.clone(), cache.clone(), next.clone());
                Box::pin(async move {
                    require_in(tx, &work.key.vault, work.now).await?;
                    // As in `UpdateKey`: first the key's row.
                    let slot = repo::advance(tx, &work.key, expect, true, work.now).await?;
                    let last = match &slot {
                        Some(slot) => VersionRef::Ordinal(slot.ordinal.saturating_sub(1)),
                        None => VersionRef::Current,
                    };
                    let found = repo::described(tx.conn(), &work.key, last).await?;
                    let before = there(found, &work.key, last, work.now)?;
                    let slot = slot.ok_or_else(|| stale(Kept::Key, &work.key, before.revision))?;
                    if before.id != id {
                        // The name went to another key meanwhile.
                        return Err(stale(Kept::Key, &work.key, before.revision));
                    }
                    let made = work.write(tx, &slot, next.after(before.version)?).await?;
                    tx.on_commit(move || cache.changed(&work.key));
                    Ok(made)
                })
            })
            .await?;
        fault::point("vault.key.after");
        Ok(made)
    }
}

/// One new version, as often as its transaction is run.
struct Work {
    key: Key,
    key_id: Id,
    version_id: Id,
    sort: Sort,
    fresh: Fresh,
    sealing: SealingKey,
    now: Timestamp,
    by: String,
}

impl Work {
    async fn begin(
        engine: &Vault,
        permit: &Permit,
        key: Key,
        sort: Sort,
        ops: &KeyOps,
        given: Option<Fresh>,
    ) -> Result<Self> {
        let (entropy, kind) = (engine.entropy.clone(), sort.kind);
        let fresh = match (sort.protection, given) {
            (KeyProtection::Hsm, given) => engine.keys.token.make(kind, ops, given, &*entropy).await?,
            (KeyProtection::Software, Some(given)) => given,
            (KeyProtection::Software, None) => engine.keys.slowly(move || Fresh::make(kind, &*entropy)).await?,
        };
        let now = permit.now();
        Ok(Self {
            key_id: Id::random(&*engine.entropy)?,
            version_id: Id::ordered(&*engine.entropy, now.unix().saturating_mul(1000))?,
            sealing: engine.sealer.key(&domain(&key.vault)).await?,
            key,
            sort,
            fresh,
            now,
            by: permit.caller().principal.to_string(),
        })
    }

    async fn write(&self, tx: &Tx, slot: &Slot, attributes: Attributes) -> Result<KeyDescribed> {
        let version = KeyVersion {
            id: self.version_id,
            ordinal: slot.ordinal,
            kind: self.sort.kind,
            protection: self.sort.protection,
            exportable: self.sort.exportable,
            attributes,
            public: self.fresh.public.clone(),
            created: self.now,
            created_by: self.by.clone(),
            updated: self.now,
        };
        let sealed = self.sealing.seal(&binding(&self.key, &version), &self.fresh.private)?;
        repo::insert_version(tx, slot, &version, sealed).await?;
        tx.note("version", version.ordinal.to_string());
        tx.note("type", version.kind.to_string());
        tx.note("protection", version.protection.to_string());
        tx.touch(Topic::Keys);
        Ok(KeyDescribed {
            id: slot.key_id.parse()?,
            name: self.key.name.clone(),
            revision: slot.revision,
            latest: slot.ordinal,
            version,
        })
    }
}

/// The first place of a new key; also where a deleted one of that name is no longer kept. `otherwise` says what to do if
/// the name is taken.
pub(super) async fn first_slot(tx: &Tx, key: &Key, id: &Id, now: Timestamp, otherwise: &str) -> Result<Slot> {
    let Key { vault, name } = key;
    if let Some(slot) = repo::take_first_slot(tx, key, id, now).await? {
        return Ok(slot);
    }
    require_in(tx, vault, now).await?;
    match fate(tx.conn(), Kept::Key, key).await? {
        Fate::Deleted(deleted) if deleted.is_kept(now) => Err(deleted.conflict(Kept::Key, vault)),
        Fate::Deleted(_) => {
            retention::repo::purge(tx, Kept::Key, key, now).await?;
            repo::take_first_slot(tx, key, id, now)
                .await?
                .ok_or_else(|| Error::internal(format!("key `{name}` of vault `{vault}` is still there")))
        }
        Fate::Live | Fate::Nothing => Err(Error::conflict(format!(
            "vault `{vault}` has a key `{name}` already: {otherwise}"
        ))),
    }
}
