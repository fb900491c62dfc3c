//! Handing out a key that was made to be handed out.

use super::portable::{self, KeyFormat};
use super::version::Made;
use crate::error::{Error, Result};
use crate::gate::{Effect, Operation, Permit};
use crate::id::{Label, ObjectName};
use crate::policy::{Action, Resource};
use crate::secret::Secret;
use crate::vault::Vault;
use crate::vault::cache::Key;
use crate::vault::version::VersionRef;

/// Exports the private half of a key that was made exportable.
pub struct ExportKey {
    /// Its vault.
    pub vault: Label,
    /// Its name.
    pub name: ObjectName,
    /// Which version.
    pub version: VersionRef,
    /// How it is written.
    pub format: KeyFormat,
}

/// A key that leaves.
pub struct ExportedKey {
    /// Which version it is.
    pub made: Made,
    /// It, in the format asked for.
    pub key: Secret,
}

impl Operation for ExportKey {
    const ACTION: Action = Action::ExportKey;
    const EFFECT: Effect = Effect::Read;
    type Engine = Vault;
    type Output = ExportedKey;

    fn resource(&self) -> Resource {
        Resource::key(self.vault.clone(), self.name.clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<ExportedKey> {
        let key = Key {
            vault: self.vault,
            name: self.name,
        };
        let hot = engine.hot_key(&key, permit).await?;
        let held = engine.hold_key(&key, &hot, self.version, permit).await?;
        permit.note("format", self.format.as_str());
        if !held.version().exportable {
            return Err(Error::conflict(format!(
                "key `{}` of vault `{}` was not made exportable, and that cannot be changed",
                key.name, key.vault
            )));
        }
        let (kind, format) = (held.version().kind, self.format);
        let written = held
            .run(engine, move |material| portable::write(format, kind, material))
            .await?;
        Ok(ExportedKey {
            made: held.version().made(),
            key: written,
        })
    }
}
