//! What is known about secrets, without their values.

use super::filter::SecretFilter;
use super::label::WhichVersion;
use super::repo::{self, Found};
use super::version::{Described, Version};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::gate::{Effect, Operation, Permit};
use crate::id::{Label, ObjectName};
use crate::policy::{Action, Resource};
use crate::vault::Vault;
use crate::vault::cache::Key;
use crate::vault::page::Page;
use crate::vault::retention::{Kept, absent, no_version};
use crate::vault::version::VersionRef;

/// Shows what is known about a secret and one of its versions.
pub struct ShowSecret {
    /// Its vault.
    pub vault: Label,
    /// Its name.
    pub name: ObjectName,
    /// Which version.
    pub version: WhichVersion,
}

impl Operation for ShowSecret {
    const ACTION: Action = Action::ShowSecret;
    const EFFECT: Effect = Effect::Read;
    type Engine = Vault;
    type Output = Described;

    fn resource(&self) -> Resource {
        Resource::secret(self.vault.clone(), self.name.clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<Described> {
        let key = Key {
            vault: self.vault,
            name: self.name,
        };
        engine.described(&key, &self.version, permit).await
    }
}

/// Lists the secrets of a vault that the caller may see, by name.
pub struct ListSecrets {
    /// The vault.
    pub vault: Label,
    /// Which of them.
    pub filter: SecretFilter,
    /// The last one of the page before.
    pub after: Option<ObjectName>,
    /// How many at most.
    pub limit: u32,
}

impl Operation for ListSecrets {
    const ACTION: Action = Action::ListSecrets;
    const EFFECT: Effect = Effect::Read;
    type Engine = Vault;
    type Output = Page<Described, ObjectName>;

    fn resource(&self) -> Resource {
        Resource::Vault(self.vault.clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<Self::Output> {
        let (limit, now) = (u64::from(self.limit), permit.now());
        let Self {
            vault, filter, after, ..
        } = self;
        let rows = repo::list(&engine.store, &vault, &filter, after.as_ref(), limit, now).await?;
        if rows.is_empty() {
            engine.require(&vault, now).await?;
        }
        // The cursor is that of the last row looked at, so that none is passed over.
        let mut page = Page::all(rows, limit, |secret| secret.name.clone());
        page.items.retain(|secret| filter.admits(secret, now));
        Ok(page.visible(permit, |secret| Resource::secret(vault.clone(), secret.name.clone())))
    }
}

/// Lists the versions of a secret, newest first.
pub struct ListSecretVersions {
    /// Its vault.
    pub vault: Label,
    /// Its name.
    pub name: ObjectName,
    /// The ordinal of the last one of the page before.
    pub before: Option<u64>,
    /// How many at most.
    pub limit: u32,
}

impl Operation for ListSecretVersions {
    const ACTION: Action = Action::ListSecretVersions;
    const EFFECT: Effect = Effect::Read;
    type Engine = Vault;
    type Output = Page<Version, u64>;

    fn resource(&self) -> Resource {
        Resource::secret(self.vault.clone(), self.name.clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<Self::Output> {
        let limit = u64::from(self.limit);
        let key = Key {
            vault: self.vault,
            name: self.name,
        };
        let rows = repo::versions(&engine.store, &key, self.before, limit).await?;
        if rows.is_empty() {
            // Behind the last page, unless there is no such secret.
            engine.described(&key, &VersionRef::Current.into(), permit).await?;
        }
        Ok(Page::all(rows, limit, |version| version.ordinal))
    }
}

impl Vault {
    /// What is known about a live secret, or why there is none.
    async fn described(&self, key: &Key, wanted: &WhichVersion, permit: &Permit) -> Result<Described> {
        match repo::show(&self.store, key, wanted).await? {
            Found::Live(Some(found)) => Ok(found),
            found => Err(self.not_there(key, found, wanted, permit).await),
        }
    }

    /// Why there is no such secret or version.
    pub(super) async fn not_there<T: Send>(
        &self,
        key: &Key,
        found: Found<T>,
        wanted: &WhichVersion,
        permit: &Permit,
    ) -> Error {
        if matches!(found, Found::Nothing)
            && let Err(error) = self.require(&key.vault, permit.now()).await
        {
            return error;
        }
        match there(found, key, wanted, permit.now()) {
            Ok(_) => Error::internal("what is there was not found"),
            Err(error) => error,
        }
    }
}

/// What was found of a secret in a vault that there is, or why it is nothing.
pub(super) fn there<T>(found: Found<T>, key: &Key, wanted: &WhichVersion, now: Timestamp) -> Result<T> {
    match found {
        Found::Live(Some(found)) => Ok(found),
        Found::Live(None) => Err(no_version(Kept::Secret, key, wanted)),
        Found::Deleted(deleted) => Err(deleted.not_found(Kept::Secret, &key.vault, now)),
        Found::Nothing => Err(absent(Kept::Secret, &key.vault, &key.name)),
    }
}
