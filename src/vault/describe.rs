//! What is known about secrets, without their values.

use super::Vault;
use super::cache::Key;
use super::page::Page;
use super::repo::{self, Found};
use super::retention::{Kept, absent};
use super::version::{Described, Version};
use crate::error::Result;
use crate::gate::{Effect, Operation, Permit};
use crate::id::{Label, ObjectName};
use crate::policy::{Action, Resource};

/// Shows what is known about a secret.
pub struct ShowSecret {
    /// Its vault.
    pub vault: Label,
    /// Its name.
    pub name: ObjectName,
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
        engine.described(&key, permit).await
    }
}

/// Lists the secrets of a vault that the caller may see, by name.
pub struct ListSecrets {
    /// The vault.
    pub vault: Label,
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
        let limit = u64::from(self.limit);
        let rows = repo::list(&engine.store, &self.vault, self.after.as_ref(), limit).await?;
        if rows.is_empty() {
            engine.require(&self.vault).await?;
        }
        Ok(
            Page::all(rows, limit, |secret| secret.name.clone()).visible(permit, |secret| {
                Resource::secret(self.vault.clone(), secret.name.clone())
            }),
        )
    }
}

/// A page of a secret's versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The ordinal of the current one.
    pub current: u64,
    /// The page, newest first.
    pub page: Page<Version, u64>,
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
    type Output = Versions;

    fn resource(&self) -> Resource {
        Resource::secret(self.vault.clone(), self.name.clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<Self::Output> {
        let limit = u64::from(self.limit);
        let key = Key {
            vault: self.vault,
            name: self.name,
        };
        let current = engine.described(&key, permit).await?.current.ordinal;
        let rows = repo::versions(&engine.store, &key, self.before, limit).await?;
        Ok(Versions {
            current,
            page: Page::all(rows, limit, |version| version.ordinal),
        })
    }
}

impl Vault {
    /// What is known about a live secret, or why there is none.
    async fn described(&self, key: &Key, permit: &Permit) -> Result<Described> {
        match repo::show(&self.store, key).await? {
            Found::Live(Some(found)) => Ok(found),
            Found::Deleted(deleted) => Err(deleted.not_found(Kept::Secret, &key.vault, permit.now())),
            Found::Live(None) | Found::Nothing => {
                self.require(&key.vault).await?;
                Err(absent(Kept::Secret, &key.vault, &key.name))
            }
        }
    }
}
