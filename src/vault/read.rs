//! Reading a secret's value: the hot path.

use std::sync::Arc;

use super::Vault;
use super::cache::Key;
use super::repo::{self, Found, Sealed};
use super::retention::{Kept, absent};
use super::version::{Version, VersionRef};
use crate::error::{Error, Result};
use crate::gate::{Effect, Operation, Permit};
use crate::id::{Label, ObjectName};
use crate::policy::{Action, Resource};
use crate::secret::Secret;
use crate::store::Topic;

/// Reads a version's value.
pub struct ReadSecret {
    /// Its vault.
    pub vault: Label,
    /// Its name.
    pub name: ObjectName,
    /// Which version.
    pub version: VersionRef,
}

/// A value, with the version that it is of.
pub struct SecretValue {
    /// The version.
    pub version: Arc<Version>,
    /// The bytes, exactly as they were set.
    pub value: Secret,
}

impl Operation for ReadSecret {
    const ACTION: Action = Action::ReadSecret;
    const EFFECT: Effect = Effect::Read;
    type Engine = Vault;
    type Output = SecretValue;

    fn resource(&self) -> Resource {
        Resource::secret(self.vault.clone(), self.name.clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<SecretValue> {
        let key = Key {
            vault: self.vault,
            name: self.name,
        };
        let row = engine.row(key, self.version, permit).await?;
        permit.note("version", row.version.ordinal.to_string());
        let value = engine.sealer.open(&row.domain, &row.binding, &row.sealed).await?;
        Ok(SecretValue {
            version: row.version.clone(),
            value,
        })
    }
}

impl Vault {
    /// The sealed row, from the cache if it is the current one.
    async fn row(&self, key: Key, wanted: VersionRef, permit: &Permit) -> Result<Arc<Sealed>> {
        // INVARIANT: asked before the cache is, so that what another node acknowledged before this call is seen.
        let generation = self.store.fresh(Topic::Secrets).await?;
        if let Some(row) = self.cache.get(&key, generation)
            && wanted.is_met_by(&row.version)
        {
            return Ok(row);
        }
        let ticket = self.cache.ticket(&key, generation);
        match repo::sealed(&self.store, &key, wanted).await? {
            Found::Live(Some(row)) => {
                let row = Arc::new(row);
                if wanted == VersionRef::Current {
                    self.cache.put(&ticket, key, row.clone());
                }
                Ok(row)
            }
            Found::Live(None) => Err(Error::not_found(format!(
                "secret `{}` of vault `{}` has no version `{wanted}`: list its versions",
                key.name, key.vault
            ))),
            Found::Deleted(deleted) => Err(deleted.not_found(Kept::Secret, &key.vault, permit.now())),
            Found::Nothing => {
                self.require(&key.vault).await?;
                Err(absent(Kept::Secret, &key.vault, &key.name))
            }
        }
    }
}
