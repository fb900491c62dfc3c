//! One method per path of the native API's vaults.

use reqwest::Method;

use super::{Client, Result};
use crate::id::Label;
use crate::wire::{self, paths};

/// No query.
const NONE: &[(); 0] = &[];

/// Vaults.
impl Client {
    /// Makes a vault.
    pub async fn create_vault(&self, vault: &wire::CreateVault) -> Result<wire::Vault> {
        self.change(Method::POST, paths::route::VAULTS, vault).await
    }

    /// Lists vaults, `most` at most.
    pub async fn vaults(&self, most: Option<usize>) -> Result<Vec<wire::Vault>> {
        self.all(paths::route::VAULTS, most).await
    }

    /// What is known about a vault.
    pub async fn vault(&self, vault: &Label) -> Result<wire::Vault> {
        self.get(&paths::vault(vault), NONE).await
    }

    /// Lists deleted vaults, `most` at most.
    pub async fn deleted_vaults(&self, most: Option<usize>) -> Result<Vec<wire::Vault>> {
        self.all(paths::route::DELETED_VAULTS, most).await
    }

    /// Changes a vault; with `revision` only if it is at that one.
    pub async fn update_vault(
        &self,
        vault: &Label,
        update: &wire::UpdateVault,
        revision: Option<u64>,
    ) -> Result<wire::Vault> {
        self.change_if(Method::PATCH, &paths::vault(vault), update, revision)
            .await
    }

    /// Deletes a vault with all that is in it; it can be recovered for a while.
    pub async fn delete_vault(&self, vault: &Label) -> Result<wire::Vault> {
        self.act(Method::DELETE, &paths::vault(vault)).await
    }

    /// Takes the deletion of a vault back.
    pub async fn recover_vault(&self, vault: &Label) -> Result<wire::Vault> {
        self.act(Method::POST, &paths::vault_recover(vault)).await
    }

    /// Removes a deleted vault for good.
    pub async fn purge_vault(&self, vault: &Label) -> Result<()> {
        self.send(Method::POST, &paths::vault_purge(vault), NONE, None)
            .await
            .map(drop)
    }

    /// The generations of the key-encryption key.
    pub async fn keks(&self) -> Result<wire::Keks> {
        self.get(paths::route::KEKS, NONE).await
    }

    /// Asks for the next generation.
    pub async fn rotate_kek(&self) -> Result<wire::Keks> {
        self.act(Method::POST, paths::route::KEKS).await
    }

    /// Ends a former generation.
    pub async fn retire_kek(&self, generation: u32) -> Result<wire::Keks> {
        self.act(Method::POST, &paths::kek_retire(generation)).await
    }
}
