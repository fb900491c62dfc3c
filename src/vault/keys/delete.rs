//! Deleting a key, and taking that back.

use std::sync::Arc;

use super::describe::there;
use super::repo;
use super::version::KeyDescribed;
use crate::error::Result;
use crate::gate::{Effect, Operation, Permit};
use crate::id::{Label, ObjectName};
use crate::policy::{Action, Resource};
use crate::vault::Vault;
use crate::vault::cache::Key;
use crate::vault::retention::{self, Deleted, Kept};
use crate::vault::version::VersionRef;

/// Deletes a key with all its versions. It can be recovered for its vault's days of retention, and its name is taken as
/// long; until it is recovered, nothing that it encrypted can be decrypted.
pub struct DeleteKey {
    /// Its vault.
    pub vault: Label,
    /// Its name.
    pub name: ObjectName,
}

impl Operation for DeleteKey {
    const ACTION: Action = Action::DeleteKey;
    const EFFECT: Effect = Effect::Change;
    type Engine = Vault;
    type Output = Deleted;

    fn resource(&self) -> Resource {
        Resource::key(self.vault.clone(), self.name.clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<Deleted> {
        let (now, cache) = (permit.now(), engine.keys.cache.clone());
        let key = Arc::new(Key {
            vault: self.vault,
            name: self.name,
        });
        permit
            .commit(move |tx| {
                let (key, cache) = (key.clone(), cache.clone());
                Box::pin(async move {
                    let deleted = retention::delete(tx, Kept::Key, &key, now).await?;
                    tx.on_commit(move || cache.changed(&key));
                    Ok(deleted)
                })
            })
            .await
    }
}

/// Brings a deleted key back, with all its versions.
pub struct RecoverKey {
    /// Its vault.
    pub vault: Label,
    /// Its name.
    pub name: ObjectName,
}

impl Operation for RecoverKey {
    const ACTION: Action = Action::RecoverKey;
    const EFFECT: Effect = Effect::Change;
    type Engine = Vault;
    type Output = KeyDescribed;

    fn resource(&self) -> Resource {
        Resource::key(self.vault.clone(), self.name.clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<KeyDescribed> {
        let (now, cache) = (permit.now(), engine.keys.cache.clone());
        let key = Arc::new(Key {
            vault: self.vault,
            name: self.name,
        });
        permit
            .commit(move |tx| {
                let (key, cache) = (key.clone(), cache.clone());
                Box::pin(async move {
                    retention::recover(tx, Kept::Key, &key, now).await?;
                    let current = VersionRef::Current;
                    let found = there(repo::described(tx.conn(), &key, current).await?, &key, current, now)?;
                    tx.on_commit(move || cache.changed(&key));
                    Ok(found)
                })
            })
            .await
    }
}

/// Removes a deleted key for good, with all its versions, before its retention ends.
pub struct PurgeKey {
    /// Its vault.
    pub vault: Label,
    /// Its name.
    pub name: ObjectName,
}

impl Operation for PurgeKey {
    const ACTION: Action = Action::PurgeKey;
    const EFFECT: Effect = Effect::Change;
    type Engine = Vault;
    type Output = ();

    fn resource(&self) -> Resource {
        Resource::key(self.vault.clone(), self.name.clone())
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
                Box::pin(async move { retention::purge(tx, Kept::Key, &key, now).await })
            })
            .await
    }
}
