//! Vaults themselves: made once, listed and shown.

use super::page::Page;
use super::{Vault, domain, repo};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::gate::{Effect, Operation, Permit};
use crate::id::Label;
use crate::policy::{Action, Resource};
use crate::store::Topic;

/// A vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultEntry {
    /// Its name.
    pub name: Label,
    /// When it was made.
    pub created: Timestamp,
    /// Who made it.
    pub created_by: String,
}

/// Makes a vault and its data key.
pub struct CreateVault {
    /// Its name.
    pub name: Label,
}

impl Operation for CreateVault {
    const ACTION: Action = Action::CreateVault;
    const EFFECT: Effect = Effect::Change;
    type Engine = Vault;
    type Output = VaultEntry;

    fn resource(&self) -> Resource {
        Resource::Vault(self.name.clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<VaultEntry> {
        // CRASH: a data key without its vault is found and used when the vault is made after all.
        engine.sealer.key(&domain(&self.name)).await?;
        let entry = VaultEntry {
            name: self.name,
            created: permit.now(),
            created_by: permit.caller().principal.to_string(),
        };
        permit
            .commit(move |tx| {
                let entry = entry.clone();
                Box::pin(async move {
                    repo::insert_vault(tx, &entry).await?;
                    tx.touch(Topic::Secrets);
                    Ok(entry)
                })
            })
            .await
    }
}

/// Lists the vaults that the caller may see, by name.
pub struct ListVaults {
    /// The last one of the page before.
    pub after: Option<Label>,
    /// How many at most.
    pub limit: u32,
}

impl Operation for ListVaults {
    const ACTION: Action = Action::ListVaults;
    const EFFECT: Effect = Effect::Read;
    type Engine = Vault;
    type Output = Page<VaultEntry, Label>;

    fn resource(&self) -> Resource {
        Resource::Everything
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<Self::Output> {
        let limit = u64::from(self.limit);
        let rows = repo::vaults(&engine.store, self.after.as_ref(), limit).await?;
        Ok(Page::all(rows, limit, |vault| vault.name.clone())
            .visible(permit, |vault| Resource::Vault(vault.name.clone())))
    }
}

/// Shows a vault.
pub struct ShowVault {
    /// Its name.
    pub name: Label,
}

impl Operation for ShowVault {
    const ACTION: Action = Action::ShowVault;
    const EFFECT: Effect = Effect::Read;
    type Engine = Vault;
    type Output = VaultEntry;

    fn resource(&self) -> Resource {
        Resource::Vault(self.name.clone())
    }

    async fn run(self, engine: &Vault, _permit: &Permit) -> Result<VaultEntry> {
        repo::vault(&engine.store, &self.name)
            .await?
            .ok_or_else(|| no_vault(&self.name))
    }
}

/// There is no such vault.
pub(super) fn no_vault(name: &Label) -> Error {
    Error::not_found(format!(
        "there is no vault `{name}`: create it, or list the vaults for the right name"
    ))
}

impl Vault {
    /// Checks that a vault is there.
    pub(super) async fn require(&self, name: &Label) -> Result<()> {
        match repo::vault(&self.store, name).await? {
            Some(_) => Ok(()),
            None => Err(no_vault(name)),
        }
    }
}
