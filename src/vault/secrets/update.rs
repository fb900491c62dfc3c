//! Changing the attributes of a version.

use futures::FutureExt;

use super::change::repo;
use super::label::WhichVersion;
use super::version::{ContentType, Described, SecretAttributes};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::gate::{Effect, Operation, Permit};
use crate::id::{Label, ObjectName};
use crate::policy::{Action, Resource};
use crate::vault::Vault;
use crate::vault::cache::Key;
use crate::vault::version::Tags;

/// What is to be changed; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretChange {
    /// Whether the version's value may be read.
    pub enabled: Option<bool>,
    /// Before, it should not be used; `Some(None)` takes that away.
    pub not_before: Option<Option<Timestamp>>,
    /// From then on, it should not be used; `Some(None)` takes that away.
    pub expires: Option<Option<Timestamp>>,
    /// What the value is; `Some(None)` takes that away.
    pub content_type: Option<Option<ContentType>>,
    /// Notes beside it, all of them.
    pub tags: Option<Tags>,
}

impl SecretChange {
    fn of(&self, before: &SecretAttributes) -> Result<SecretAttributes> {
        SecretAttributes {
            enabled: self.enabled.unwrap_or(before.enabled),
            not_before: self.not_before.unwrap_or(before.not_before),
            expires: self.expires.unwrap_or(before.expires),
            content_type: self.content_type.as_ref().unwrap_or(&before.content_type).clone(),
            tags: self.tags.as_ref().unwrap_or(&before.tags).clone(),
        }
        .checked()
    }
}

/// Changes the attributes of a version; never its value.
pub struct UpdateSecret {
    /// Its vault.
    pub vault: Label,
    /// Its name.
    pub name: ObjectName,
    /// Which version.
    pub version: WhichVersion,
    /// What is to be changed.
    pub change: SecretChange,
    /// The secret's revision; `Conflict` if it is another.
    pub expect: Option<u64>,
}

impl Operation for UpdateSecret {
    const ACTION: Action = Action::UpdateSecret;
    const EFFECT: Effect = Effect::Change;
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
        let change = self.change;
        engine
            .change_secret(permit, key, self.version, self.expect, move |tx, secret| {
                let change = change.clone();
                async move {
                    let version = &mut secret.found.version;
                    version.check_kept(&secret.key, secret.now)?;
                    version.attributes = change.of(&version.attributes)?;
                    version.updated = secret.now;
                    repo::update_version(tx, version).await?;
                    tx.note("enabled", version.attributes.enabled.to_string());
                    Ok(())
                }
                .boxed()
            })
            .await
    }
}
