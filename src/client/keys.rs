//! One method per path of the native API's keys.

use reqwest::Method;

use super::{Client, Result};
use crate::id::{Label, ObjectName};
use crate::wire::{self, paths};

/// No query.
const NONE: &[(); 0] = &[];

/// Keys.
impl Client {
    /// Makes a key.
    pub async fn create_key(&self, vault: &Label, key: &wire::CreateKey) -> Result<wire::Key> {
        self.change(Method::POST, &paths::keys(vault), key).await
    }

    /// Keeps a key that was made elsewhere; with `revision` only as a new version of the key that is at that one.
    pub async fn import_key(
        &self,
        vault: &Label,
        name: &ObjectName,
        key: &wire::ImportKey,
        revision: Option<u64>,
    ) -> Result<wire::Key> {
        let path = paths::key_use(vault, name, "import");
        self.change_if(Method::POST, &path, key, revision).await
    }

    /// Hands out a key that was made exportable.
    pub async fn export_key(
        &self,
        vault: &Label,
        name: &ObjectName,
        ask: &wire::ExportKey,
    ) -> Result<wire::ExportedKey> {
        self.change(Method::POST, &paths::key_use(vault, name, "export"), ask)
            .await
    }

    /// Seals a key to be kept elsewhere.
    pub async fn back_up_key(&self, vault: &Label, name: &ObjectName) -> Result<wire::Backup> {
        self.act(Method::POST, &paths::key_use(vault, name, "backup")).await
    }

    /// Makes a key again from its backup.
    pub async fn restore_key(&self, vault: &Label, backup: &wire::Restore) -> Result<wire::Key> {
        self.change(Method::POST, &paths::key_restore(vault), backup).await
    }

    /// What is known about a key and its current version, or `version` (ordinal or id).
    pub async fn key(&self, vault: &Label, name: &ObjectName, version: Option<&str>) -> Result<wire::Key> {
        self.get(&path(vault, name, version), NONE).await
    }

    /// Lists a vault's keys, `most` at most.
    pub async fn keys(&self, vault: &Label, most: Option<usize>) -> Result<Vec<wire::Key>> {
        self.all(&paths::keys(vault), most).await
    }

    /// Lists a key's versions, newest first, `most` at most.
    pub async fn key_versions(
        &self,
        vault: &Label,
        name: &ObjectName,
        most: Option<usize>,
    ) -> Result<Vec<wire::KeyVersion>> {
        self.all(&paths::key_versions(vault, name), most).await
    }

    /// Gives a key a new version; with `revision` only if the key is at that one.
    pub async fn rotate_key(
        &self,
        vault: &Label,
        name: &ObjectName,
        rotate: &wire::RotateKey,
        revision: Option<u64>,
    ) -> Result<wire::Key> {
        let path = paths::key_use(vault, name, "rotate");
        self.change_if(Method::POST, &path, rotate, revision).await
    }

    /// Changes the current version, or `version`; with `revision` only if the key is at that one.
    pub async fn update_key(
        &self,
        vault: &Label,
        name: &ObjectName,
        version: Option<&str>,
        update: &wire::UpdateKey,
        revision: Option<u64>,
    ) -> Result<wire::Key> {
        let path = path(vault, name, version);
        self.change_if(Method::PATCH, &path, update, revision).await
    }

    /// Deletes a key; it can be recovered for a while.
    pub async fn delete_key(&self, vault: &Label, name: &ObjectName) -> Result<wire::Deleted> {
        self.act(Method::DELETE, &paths::key(vault, name)).await
    }

    /// Removes a deleted key for good.
    pub async fn purge_key(&self, vault: &Label, name: &ObjectName) -> Result<()> {
        self.send(Method::POST, &paths::key_use(vault, name, "purge"), NONE, None)
            .await
            .map(drop)
    }

    /// Takes the deletion of a key back.
    pub async fn recover_key(&self, vault: &Label, name: &ObjectName) -> Result<wire::Key> {
        self.act(Method::POST, &paths::key_use(vault, name, "recover")).await
    }

    /// Encrypts.
    pub async fn encrypt(&self, vault: &Label, name: &ObjectName, ask: &wire::Encrypt) -> Result<wire::Encrypted> {
        self.change(Method::POST, &paths::key_use(vault, name, "encrypt"), ask)
            .await
    }

    /// Decrypts.
    pub async fn decrypt(&self, vault: &Label, name: &ObjectName, ask: &wire::Decrypt) -> Result<wire::Decrypted> {
        self.change(Method::POST, &paths::key_use(vault, name, "decrypt"), ask)
            .await
    }

    /// Decrypts and encrypts again.
    pub async fn reencrypt(&self, vault: &Label, name: &ObjectName, ask: &wire::Reencrypt) -> Result<wire::Encrypted> {
        self.change(Method::POST, &paths::key_use(vault, name, "re-encrypt"), ask)
            .await
    }

    /// Makes a data key.
    pub async fn create_data_key(
        &self,
        vault: &Label,
        name: &ObjectName,
        ask: &wire::CreateDataKey,
    ) -> Result<wire::DataKey> {
        self.change(Method::POST, &paths::key_use(vault, name, "data-key"), ask)
            .await
    }

    /// Wraps another key.
    pub async fn wrap_key(&self, vault: &Label, name: &ObjectName, ask: &wire::Wrap) -> Result<wire::Wrapped> {
        self.change(Method::POST, &paths::key_use(vault, name, "wrap"), ask)
            .await
    }

    /// Unwraps another key.
    pub async fn unwrap_key(&self, vault: &Label, name: &ObjectName, ask: &wire::Unwrap) -> Result<wire::Unwrapped> {
        self.change(Method::POST, &paths::key_use(vault, name, "unwrap"), ask)
            .await
    }

    /// Signs.
    pub async fn sign(&self, vault: &Label, name: &ObjectName, ask: &wire::Sign) -> Result<wire::Signed> {
        self.change(Method::POST, &paths::key_use(vault, name, "sign"), ask)
            .await
    }

    /// Verifies a signature.
    pub async fn verify_signature(
        &self,
        vault: &Label,
        name: &ObjectName,
        ask: &wire::VerifySignature,
    ) -> Result<wire::Verdict> {
        self.change(Method::POST, &paths::key_use(vault, name, "verify"), ask)
            .await
    }

    /// Agrees on a secret with the holder of another key.
    pub async fn derive_secret(
        &self,
        vault: &Label,
        name: &ObjectName,
        ask: &wire::DeriveSecret,
    ) -> Result<wire::SharedSecret> {
        self.change(Method::POST, &paths::key_use(vault, name, "derive"), ask)
            .await
    }

    /// Draws random bytes.
    pub async fn random(&self, vault: &Label, bytes: usize) -> Result<wire::Random> {
        let ask = wire::ReadRandom { bytes };
        self.change(Method::POST, &paths::random(vault), &ask).await
    }
}

fn path(vault: &Label, name: &ObjectName, version: Option<&str>) -> String {
    match version {
        None => paths::key(vault, name),
        Some(version) => paths::key_version(vault, name, version),
    }
}
