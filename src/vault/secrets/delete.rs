//! Deleting a secret, and taking that back.

use std::sync::Arc;

use super::describe::there;
use super::repo;
use super::version::Described;
use crate::error::Result;
use crate::gate::{Effect, Operation, Permit};
use crate::id::{Label, ObjectName};
use crate::policy::{Action, Resource};
use crate::vault::Vault;
use crate::vault::cache::Key;
use crate::vault::retention::{self, Deleted, Kept};
use crate::vault::version::VersionRef;

/// Deletes a secret with all its versions. It can be recovered for its vault's days of retention, and its name is taken as long.
pub struct DeleteSecret {
    /// Its vault.
    pub vault: Label,
    /// Its name.
    pub name: ObjectName,
}

impl Operation for DeleteSecret {
    const ACTION: Action = Action::DeleteSecret;
    const EFFECT: Effect = Effect::Change;
    type Engine = Vault;
    type Output = Deleted;

    fn resource(&self) -> Resource {
        Resource::secret(self.vault.clone(), self.name.clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<Deleted> {
        let now = permit.now();
        let cache = engine.secrets.clone();
        let key = Arc::new(Key {
            vault: self.vault,
            name: self.name,
        });
        permit
            .commit(move |tx| {
                let (key, cache) = (key.clone(), cache.clone());
                Box::pin(async move {
                    let deleted = retention::delete(tx, Kept::Secret, &key, now).await?;
                    tx.on_commit(move || cache.changed(&key));
                    Ok(deleted)
                })
            })
            .await
    }
}

/// Brings a deleted secret back, with all its versions.
pub struct RecoverSecret {
    /// Its vault.
    pub vault: Label,
    /// Its name.
    pub name: ObjectName,
}

impl Operation for RecoverSecret {
    const ACTION: Action = Action::RecoverSecret;
    const EFFECT: Effect = Effect::Change;
    type Engine = Vault;
    type Output = Described;

    fn resource(&self) -> Resource {
        Resource::secret(self.vault.clone(), self.name.clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<Described> {
        let now = permit.now();
        let cache = engine.secrets.clone();
        let key = Arc::new(Key {
            vault: self.vault,
            name: self.name,
        });
        permit
            .commit(move |tx| {
                let (key, cache) = (key.clone(), cache.clone());
                Box::pin(async move {
                    retention::recover(tx, Kept::Secret, &key, now).await?;
                    let current = VersionRef::Current.into();
                    let found = there(repo::described(tx.conn(), &key, &current).await?, &key, &current, now)?;
                    tx.on_commit(move || cache.changed(&key));
                    Ok(found)
                })
            })
            .await
    }
}

/// Removes a deleted secret for good, with all its versions, before its retention ends.
pub struct PurgeSecret {
    /// Its vault.
    pub vault: Label,
    /// Its name.
    pub name: ObjectName,
}

impl Operation for PurgeSecret {
    const ACTION: Action = Action::PurgeSecret;
    const EFFECT: Effect = Effect::Change;
    type Engine = Vault;
    type Output = ();

    fn resource(&self) -> Resource {
        Resource::secret(self.vault.clone(), self.name.clone())
    }

    async fn run(self, _: &Vault, permit: &Permit) -> Result<()> {
        let now = permit.now();
        let key = Arc::new(Key {
            vault: self.vault,
            name: self.name,
        });
        permit
            .commit(move |tx| {
                let key = key.clone();
                Box::pin(async move { retention::purge(tx, Kept::Secret, &key, now).await })
            })
            .await
    }
}
