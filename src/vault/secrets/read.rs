//! Reading a secret's value: the hot path.

use std::sync::Arc;

use super::label::WhichVersion;
use super::repo::{self, Found, Sealed};
use super::version::Version;
use crate::error::Result;
use crate::gate::{Effect, Operation, Permit};
use crate::id::{Label, ObjectName};
use crate::policy::{Action, Resource};
use crate::secret::Secret;
use crate::store::Topic;
use crate::vault::Vault;
use crate::vault::cache::Key;
use crate::vault::retention::{Kept, no_version};
use crate::vault::version::VersionRef;

/// Reads a version's value.
pub struct ReadSecret {
    /// Its vault.
    pub vault: Label,
    /// Its name.
    pub name: ObjectName,
    /// Which version.
    pub version: WhichVersion,
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
        let row = engine.row(&key, &self.version, permit).await?;
        permit.note("version", row.version.ordinal.to_string());
        row.version.check_readable(&key, permit.now())?;
        let value = engine.sealer.open(&row.domain, &row.binding, &row.sealed).await?;
        Ok(SecretValue {
            version: row.version.clone(),
            value,
        })
    }
}

impl Vault {
    /// The sealed row, from the cache if it is the current one.
    async fn row(&self, key: &Key, wanted: &WhichVersion, permit: &Permit) -> Result<Arc<Sealed>> {
        // INVARIANT: asked before the cache is, so that what another node acknowledged before this call is seen.
        let generation = self.store.fresh(Topic::Secrets).await?;
        let version = match wanted {
            WhichVersion::Version(version) => *version,
            WhichVersion::Label(_) => match repo::labelled(&self.store, key, wanted).await? {
                Found::Live(Some(version)) => version,
                found => return Err(self.not_there(key, found, wanted, permit).await),
            },
        };
        if let Some(row) = self.secrets.get(key, generation)
            && version.is_met_by(row.version.id, row.version.ordinal)
        {
            return Ok(row);
        }
        let ticket = self.secrets.ticket(key, generation);
        match repo::sealed(&self.store, key, version).await? {
            Found::Live(Some(row)) => {
                let row = Arc::new(row);
                if version == VersionRef::Current {
                    self.secrets.put(&ticket, key.clone(), row.clone());
                }
                Ok(row)
            }
            Found::Live(None) => Err(no_version(Kept::Secret, key, wanted)),
            found => Err(self.not_there(key, found, wanted, permit).await),
        }
    }
}
