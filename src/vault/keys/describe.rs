//! What is known about keys, without their private halves.

use super::repo::{self, Found};
use super::version::{KeyDescribed, KeyVersion};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::gate::{Effect, Operation, Permit};
use crate::id::{Label, ObjectName};
use crate::policy::{Action, Resource};
use crate::vault::Vault;
use crate::vault::cache::Key;
use crate::vault::page::Page;
use crate::vault::retention::repo::Fate;
use crate::vault::retention::{Kept, absent, no_version};
use crate::vault::version::VersionRef;

/// Shows what is known about a key and one of its versions.
pub struct ShowKey {
    /// Its vault.
    pub vault: Label,
    /// Its name.
    pub name: ObjectName,
    /// Which version.
    pub version: VersionRef,
}

impl Operation for ShowKey {
    const ACTION: Action = Action::ShowKey;
    const EFFECT: Effect = Effect::Read;
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
        engine.described_key(&key, self.version, permit).await
    }
}

/// Lists the keys of a vault that the caller may see, by name.
pub struct ListKeys {
    /// The vault.
    pub vault: Label,
    /// The last one of the page before.
    pub after: Option<ObjectName>,
    /// How many at most.
    pub limit: u32,
}

impl Operation for ListKeys {
    const ACTION: Action = Action::ListKeys;
    const EFFECT: Effect = Effect::Read;
    type Engine = Vault;
    type Output = Page<KeyDescribed, ObjectName>;

    fn resource(&self) -> Resource {
        Resource::Vault(self.vault.clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<Self::Output> {
        let limit = u64::from(self.limit);
        let rows = repo::list(&engine.store, &self.vault, self.after.as_ref(), limit).await?;
        if rows.is_empty() {
            engine.require(&self.vault, permit.now()).await?;
        }
        Ok(Page::all(rows, limit, |key| key.name.clone())
            .visible(permit, |key| Resource::key(self.vault.clone(), key.name.clone())))
    }
}

/// A page of a key's versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyVersions {
    /// The ordinal of the current one.
    pub current: u64,
    /// The page, newest first.
    pub page: Page<KeyVersion, u64>,
}

/// Lists the versions of a key, newest first.
pub struct ListKeyVersions {
    /// Its vault.
    pub vault: Label,
    /// Its name.
    pub name: ObjectName,
    /// The ordinal of the last one of the page before.
    pub before: Option<u64>,
    /// How many at most.
    pub limit: u32,
}

impl Operation for ListKeyVersions {
    const ACTION: Action = Action::ListKeyVersions;
    const EFFECT: Effect = Effect::Read;
    type Engine = Vault;
    type Output = KeyVersions;

    fn resource(&self) -> Resource {
        Resource::key(self.vault.clone(), self.name.clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<Self::Output> {
        let limit = u64::from(self.limit);
        let key = Key {
            vault: self.vault,
            name: self.name,
        };
        let described = engine.described_key(&key, VersionRef::Current, permit).await?;
        let rows = repo::versions(&engine.store, &key, self.before, limit).await?;
        Ok(KeyVersions {
            current: described.latest,
            page: Page::all(rows, limit, |version| version.ordinal),
        })
    }
}

impl Vault {
    /// What is known about a live key, or why there is none.
    pub(super) async fn described_key(&self, key: &Key, wanted: VersionRef, permit: &Permit) -> Result<KeyDescribed> {
        match repo::show(&self.store, key, wanted).await? {
            Found::Gone(fate) => Err(self.gone(key, fate, permit).await),
            found @ Found::Live(_) => there(found, key, wanted, permit.now()),
        }
    }
}

/// What was found of a key in a vault that there is, or why it is nothing.
pub(super) fn there<T>(found: Found<T>, key: &Key, wanted: VersionRef, now: Timestamp) -> Result<T> {
    match found {
        Found::Live(Some(found)) => Ok(found),
        Found::Live(None) => Err(no_version(Kept::Key, key, wanted)),
        Found::Gone(Fate::Deleted(deleted)) => Err(deleted.not_found(Kept::Key, &key.vault, now)),
        Found::Gone(Fate::Live | Fate::Nothing) => Err(absent(Kept::Key, &key.vault, &key.name)),
    }
}
