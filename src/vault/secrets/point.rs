//! Pointing labels at versions.

use futures::FutureExt;

use super::change::repo;
use super::describe::there;
use super::label::{VersionLabel, WhichVersion};
use super::repo as rows;
use super::version::Described;
use crate::error::{Error, Result};
use crate::gate::{Effect, Operation, Permit};
use crate::id::{Label, ObjectName};
use crate::policy::{Action, Resource};
use crate::vault::Vault;
use crate::vault::cache::Key;
use crate::vault::version::VersionRef;

/// Points a label at a version, or takes it away. Of several who move it at once, one does.
pub struct LabelSecretVersion {
    /// Its vault.
    pub vault: Label,
    /// Its name.
    pub name: ObjectName,
    /// The label.
    pub label: VersionLabel,
    /// The version that it is to point at; `None` takes it away.
    pub to: Option<WhichVersion>,
    /// The version that it is expected to point at now. Without, it is pointed at a version only if it points at none,
    /// and taken away from any.
    pub from: Option<WhichVersion>,
}

impl Operation for LabelSecretVersion {
    const ACTION: Action = Action::LabelSecretVersion;
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
        permit.note("label", self.label.to_string());
        let is_move = self.to.is_some();
        let wanted = self.to.unwrap_or(WhichVersion::Version(VersionRef::Current));
        let (label, from) = (self.label, self.from);
        engine
            .change_secret(permit, key, wanted, None, move |tx, secret| {
                let (label, from) = (label.clone(), from.clone());
                async move {
                    let (key, now, to) = (&secret.key, secret.now, secret.found.version.ordinal);
                    let expected = match &from {
                        None => None,
                        Some(from) => {
                            let found = rows::described(tx.conn(), key, from).await?;
                            Some(there(found, key, from, now)?.version.ordinal)
                        }
                    };
                    let at = secret.slot.pointers.at(&label);
                    let as_expected = match expected {
                        Some(_) => at == expected,
                        None => !is_move || at.is_none() || at == Some(to),
                    };
                    if !as_expected {
                        return Err(elsewhere(key, &label, at, expected));
                    }
                    if is_move {
                        secret.found.version.check_kept(key, now)?;
                        secret.slot.pointers.point(&label, to)?;
                    } else {
                        secret.slot.pointers.remove(&label)?;
                    }
                    repo::write_pointers(tx, &secret.slot).await
                }
                .boxed()
            })
            .await
    }
}

fn elsewhere(key: &Key, label: &VersionLabel, at: Option<u64>, expected: Option<u64>) -> Error {
    let Key { vault, name } = key;
    let at = match at {
        Some(at) => format!("points at version {at}"),
        None => "points at no version".to_owned(),
    };
    let then = match expected {
        Some(expected) => format!("not at {expected} as you expect: look at the versions and decide again"),
        None => "say that you expect it there to move it".to_owned(),
    };
    Error::conflict(format!(
        "label `{label}` of secret `{name}` of vault `{vault}` {at}, {then}"
    ))
}
