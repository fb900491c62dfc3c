//! One method per path of the native API's secrets.

use reqwest::Method;

use super::{Client, Result, to_json, with_body};
use crate::id::{Label, ObjectName};
use crate::wire::{self, paths};

/// No query.
const NONE: &[(); 0] = &[];

/// Secrets.
impl Client {
    /// Sets a secret: a new version. Sent again with the same `idempotency_key`, it makes no other.
    pub async fn set_secret(
        &self,
        vault: &Label,
        name: &ObjectName,
        secret: &wire::SetSecret,
        idempotency_key: Option<&str>,
    ) -> Result<wire::SecretVersion> {
        let mut request = self.request(Method::PUT, &paths::secret(vault, name));
        if let Some(key) = idempotency_key {
            request = request.header(wire::IDEMPOTENCY_KEY, key);
        }
        let answer = self.exchange(with_body(request, to_json(secret)?)).await?;
        self.json(answer).await
    }

    /// A secret's value: the current version's, or that of `version` (ordinal, id or label).
    pub async fn secret_value(
        &self,
        vault: &Label,
        name: &ObjectName,
        version: Option<&str>,
    ) -> Result<wire::SecretValue> {
        match version {
            None => self.get(&paths::secret(vault, name), NONE).await,
            Some(version) => self.get(&paths::secret_version(vault, name, version), NONE).await,
        }
    }

    /// What is known about a secret and its current version, or `version` (ordinal, id or label).
    pub async fn secret(&self, vault: &Label, name: &ObjectName, version: Option<&str>) -> Result<wire::Secret> {
        self.get(&metadata(vault, name, version), NONE).await
    }

    /// Lists a vault's secrets, `most` at most.
    pub async fn secrets(
        &self,
        vault: &Label,
        filter: &wire::SecretsQuery,
        most: Option<usize>,
    ) -> Result<Vec<wire::Secret>> {
        self.all_where(&paths::secrets(vault), filter, most).await
    }

    /// Lists a secret's versions, newest first, `most` at most.
    pub async fn secret_versions(
        &self,
        vault: &Label,
        name: &ObjectName,
        most: Option<usize>,
    ) -> Result<Vec<wire::SecretVersion>> {
        self.all(&paths::secret_versions(vault, name), most).await
    }

    /// Changes the current version, or `version`; with `revision` only if the secret is at that one.
    pub async fn update_secret(
        &self,
        vault: &Label,
        name: &ObjectName,
        version: Option<&str>,
        update: &wire::UpdateSecret,
        revision: Option<u64>,
    ) -> Result<wire::Secret> {
        let path = metadata(vault, name, version);
        self.change_if(Method::PATCH, &path, update, revision).await
    }

    /// Points a label at a version.
    pub async fn point_label(
        &self,
        vault: &Label,
        name: &ObjectName,
        label: &str,
        point: &wire::PointLabel,
    ) -> Result<wire::Secret> {
        self.change(Method::PUT, &paths::secret_label(vault, name, label), point)
            .await
    }

    /// Takes a label away; with `from` only if it points at that version.
    pub async fn remove_label(
        &self,
        vault: &Label,
        name: &ObjectName,
        label: &str,
        from: Option<String>,
    ) -> Result<wire::Secret> {
        let (path, query) = (paths::secret_label(vault, name, label), wire::LabelQuery { from });
        let answer = self.send(Method::DELETE, &path, &query, None).await?;
        self.json(answer).await
    }

    /// Destroys the value of a version.
    pub async fn destroy_version(
        &self,
        vault: &Label,
        name: &ObjectName,
        version: &str,
        destroy: &wire::DestroyVersion,
    ) -> Result<wire::Secret> {
        let path = paths::secret_version_use(vault, name, version, "destroy");
        self.change(Method::POST, &path, destroy).await
    }

    /// Takes it back that the value of a version is to be destroyed.
    pub async fn recover_version(&self, vault: &Label, name: &ObjectName, version: &str) -> Result<wire::Secret> {
        let path = paths::secret_version_use(vault, name, version, "recover");
        self.act(Method::POST, &path).await
    }

    /// Deletes a secret; it can be recovered for a while.
    pub async fn delete_secret(&self, vault: &Label, name: &ObjectName) -> Result<wire::Deleted> {
        self.act(Method::DELETE, &paths::secret(vault, name)).await
    }

    /// Removes a deleted secret for good.
    pub async fn purge_secret(&self, vault: &Label, name: &ObjectName) -> Result<()> {
        self.send(Method::POST, &paths::secret_purge(vault, name), NONE, None)
            .await
            .map(drop)
    }

    /// How a secret is rotated, and how far its rotation has come.
    pub async fn secret_rotation(&self, vault: &Label, name: &ObjectName) -> Result<wire::SecretRotation> {
        self.get(&paths::secret_rotation(vault, name), NONE).await
    }

    /// Says how a secret is rotated.
    pub async fn set_rotation(
        &self,
        vault: &Label,
        name: &ObjectName,
        rotation: &wire::SetRotation,
    ) -> Result<wire::SecretRotation> {
        self.change(Method::PUT, &paths::secret_rotation(vault, name), rotation)
            .await
    }

    /// Takes a secret's rotation policy away.
    pub async fn remove_rotation(&self, vault: &Label, name: &ObjectName) -> Result<()> {
        self.send(Method::DELETE, &paths::secret_rotation(vault, name), NONE, None)
            .await
            .map(drop)
    }

    /// Begins a secret's rotation now, or lets a paused one go on.
    pub async fn rotate_secret(&self, vault: &Label, name: &ObjectName) -> Result<wire::SecretRotation> {
        self.act(Method::POST, &paths::secret_rotate(vault, name)).await
    }

    /// Seals a secret to be kept elsewhere.
    pub async fn back_up_secret(&self, vault: &Label, name: &ObjectName) -> Result<wire::Backup> {
        self.act(Method::POST, &paths::secret_backup(vault, name)).await
    }

    /// Makes a secret again from its backup.
    pub async fn restore_secret(&self, vault: &Label, backup: &wire::Restore) -> Result<wire::Secret> {
        self.change(Method::POST, &paths::secret_restore(vault), backup).await
    }

    /// Takes the deletion of a secret back.
    pub async fn recover_secret(&self, vault: &Label, name: &ObjectName) -> Result<wire::Secret> {
        self.act(Method::POST, &paths::secret_recover(vault, name)).await
    }
}

fn metadata(vault: &Label, name: &ObjectName, version: Option<&str>) -> String {
    match version {
        None => paths::secret_metadata(vault, name),
        Some(version) => paths::secret_version_use(vault, name, version, "metadata"),
    }
}
