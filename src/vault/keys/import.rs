//! Bringing a key of one's own, in the clear or wrapped by a key that is here.

use super::algorithm::WrapAlgorithm;
use super::cipher::{self, undecryptable};
use super::create::{NewKey, NewVersion};
use super::kind::{Family, KeyKind, KeyOp};
use super::material::{Fresh, Material};
use super::portable::{self, KeyFormat};
use super::version::KeyDescribed;
use crate::error::{Error, Result};
use crate::gate::{Effect, Operation, Permit};
use crate::id::{Label, ObjectName};
use crate::policy::{Action, Resource};
use crate::secret::Secret;
use crate::vault::Vault;
use crate::vault::cache::Key;
use crate::vault::names::names;
use crate::vault::version::VersionRef;

names! {
    /// How a key that is brought was wrapped by an RSA key of the vault.
    ImportWrap, "a way to wrap a key that is imported", {
        /// `RSA-OAEP` with SHA-1 of an AES key, which wrapped the key by RFC 5649 (`CKM_RSA_AES_KEY_WRAP`).
        RsaAesKwp = "RSA-AES-KWP",
        /// The same with SHA-256.
        RsaAesKwp256 = "RSA-AES-KWP-256",
        /// RSAES-OAEP with SHA-1, for symmetric keys.
        RsaOaep = "RSA-OAEP",
        /// RSAES-OAEP with SHA-256, for symmetric keys.
        RsaOaep256 = "RSA-OAEP-256",
    }
}

/// By which key of the vault a key that is brought was wrapped, and how. The caller must be allowed to import with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedBy {
    /// The key's name; one of its uses must be `unwrapKey`.
    pub name: ObjectName,
    /// Which version.
    pub version: VersionRef,
    /// How.
    pub algorithm: ImportWrap,
}

/// Keeps a key that was made elsewhere.
pub struct ImportKey {
    /// The vault.
    pub vault: Label,
    /// Its name there, which must be free.
    pub name: ObjectName,
    /// What sort of key it is; bare bytes do not say it.
    pub kind: Option<KeyKind>,
    /// How it is written.
    pub format: KeyFormat,
    /// It.
    pub key: Secret,
    /// By what it is wrapped, if it is.
    pub wrapped_by: Option<WrappedBy>,
    /// What else.
    pub new: NewKey,
}

impl Operation for ImportKey {
    const ACTION: Action = Action::ImportKey;
    const EFFECT: Effect = Effect::Change;
    type Engine = Vault;
    type Output = KeyDescribed;

    fn resource(&self) -> Resource {
        Resource::key(self.vault.clone(), self.name.clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<KeyDescribed> {
        let from = (self.format, self.kind, self.wrapped_by);
        let (kind, fresh) = engine.brought(&self.vault, self.key, from, permit).await?;
        let key = Key {
            vault: self.vault,
            name: self.name,
        };
        engine.create_key(key, kind, self.new, Some(fresh), permit).await
    }
}

/// Keeps a key that was made elsewhere as the next version of one that is here, which becomes the current one.
pub struct ImportKeyVersion {
    /// The vault.
    pub vault: Label,
    /// The name of the key that it becomes a version of; its type must be that key's.
    pub name: ObjectName,
    /// What sort of key it is; bare bytes do not say it.
    pub kind: Option<KeyKind>,
    /// How it is written.
    pub format: KeyFormat,
    /// It.
    pub key: Secret,
    /// By what it is wrapped, if it is.
    pub wrapped_by: Option<WrappedBy>,
    /// What else.
    pub next: NewVersion,
    /// The key's revision; `Conflict` if it is another.
    pub expect: Option<u64>,
}

impl Operation for ImportKeyVersion {
    const ACTION: Action = Action::ImportKey;
    const EFFECT: Effect = Effect::Change;
    type Engine = Vault;
    type Output = KeyDescribed;

    fn resource(&self) -> Resource {
        Resource::key(self.vault.clone(), self.name.clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<KeyDescribed> {
        let from = (self.format, self.kind, self.wrapped_by);
        let given = engine.brought(&self.vault, self.key, from, permit).await?;
        let key = Key {
            vault: self.vault,
            name: self.name,
        };
        engine
            .advance_key(key, self.next, Some(given), self.expect, permit)
            .await
    }
}

impl Vault {
    /// Reads a key that is brought, unwrapped first if it is wrapped.
    async fn brought(
        &self,
        vault: &Label,
        key: Secret,
        (format, asked, wrapped_by): (KeyFormat, Option<KeyKind>, Option<WrappedBy>),
        permit: &Permit,
    ) -> Result<(KeyKind, Fresh)> {
        let key = match wrapped_by {
            Some(by) => {
                permit.note("wrapped_by", by.name.as_str());
                self.unwrapped(vault, by, key, permit).await?
            }
            None => key,
        };
        // Checking the numbers of a large RSA key takes long.
        self.keys.slowly(move || portable::read(format, &key, asked)).await
    }

    async fn unwrapped(&self, vault: &Label, by: WrappedBy, wrapped: Secret, permit: &Permit) -> Result<Secret> {
        let resource = Resource::key(vault.clone(), by.name.clone());
        if !permit.allows(&resource) {
            return Err(Error::denied(format!(
                "you may not {} with `{resource}`: ask an administrator for a role that allows it there",
                ImportKey::ACTION
            )));
        }
        let key = Key {
            vault: vault.clone(),
            name: by.name,
        };
        let hot = self.hot_key(&key, permit).await?;
        let used = self.use_key(&key, &hot, by.version, KeyOp::UnwrapKey, permit).await?;
        let Family::Rsa(bits) = used.version().kind.family() else {
            return Err(Error::invalid(format!(
                "`{}` does not go with a key of type `{}`: name an RSA key",
                by.algorithm,
                used.version().kind
            )));
        };
        let (oaep, aes) = match by.algorithm {
            ImportWrap::RsaAesKwp => (WrapAlgorithm::RsaOaep, true),
            ImportWrap::RsaAesKwp256 => (WrapAlgorithm::RsaOaep256, true),
            ImportWrap::RsaOaep => (WrapAlgorithm::RsaOaep, false),
            ImportWrap::RsaOaep256 => (WrapAlgorithm::RsaOaep256, false),
        };
        if !aes {
            return used.unwrap(self, oaep, wrapped.expose().to_vec()).await;
        }
        let len = usize::try_from(bits / 8).unwrap_or(usize::MAX);
        let (first, rest) = wrapped.expose().split_at_checked(len).ok_or_else(undecryptable)?;
        let between = used.unwrap(self, oaep, first.to_vec()).await?;
        if !matches!(between.len(), 16 | 24 | 32) {
            return Err(undecryptable());
        }
        cipher::unwrap(&Material::Symmetric(between), WrapAlgorithm::AesKwp, rest)
    }
}
