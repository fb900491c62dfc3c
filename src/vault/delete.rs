//! Deleting a secret, and taking that back.

use std::sync::Arc;

use super::Vault;
use super::cache::Key;
use super::repo::{self, Found};
use super::retention::{Deleted, absent};
use super::version::Described;
use crate::error::{Error, Result};
use crate::gate::{Effect, Operation, Permit};
use crate::id::{Label, ObjectName};
use crate::policy::{Action, Resource};
use crate::store::Topic;

/// Deletes a secret with all its versions. It can be recovered for [`super::RETENTION`], and its name is taken as long.
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
        let cache = engine.cache.clone();
        let key = Arc::new(Key {
            vault: self.vault,
            name: self.name,
        });
        permit
            .commit(move |tx| {
                let (key, cache) = (key.clone(), cache.clone());
                Box::pin(async move {
                    let deleted = Deleted::at(key.name.clone(), now);
                    if !repo::mark_deleted(tx, &key.vault, &deleted).await? {
                        return Err(match repo::described(tx.conn(), &key).await? {
                            Found::Deleted(before) => before.not_found(&key.vault, now),
                            Found::Live(_) | Found::Nothing => absent(&key.vault, &key.name),
                        });
                    }
                    tx.note("recoverable_until", deleted.recoverable_until.to_string());
                    tx.touch(Topic::Secrets);
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
        let cache = engine.cache.clone();
        let key = Arc::new(Key {
            vault: self.vault,
            name: self.name,
        });
        permit
            .commit(move |tx| {
                let (key, cache) = (key.clone(), cache.clone());
                Box::pin(async move {
                    let recovered = repo::unmark_deleted(tx, &key, now).await?;
                    let found = repo::described(tx.conn(), &key).await?;
                    match found {
                        Found::Live(Some(found)) if recovered => {
                            tx.touch(Topic::Secrets);
                            tx.on_commit(move || cache.changed(&key));
                            Ok(found)
                        }
                        Found::Live(_) => Err(Error::conflict(format!(
                            "secret `{}` of vault `{}` is not deleted: there is nothing to recover",
                            key.name, key.vault
                        ))),
                        Found::Deleted(_) | Found::Nothing => Err(absent(&key.vault, &key.name)),
                    }
                })
            })
            .await
    }
}
