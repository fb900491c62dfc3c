//! Vaults, the secrets and the keys in them: versions, deletion with recovery, and use without the token.
//!
//! Every act here is an [`Operation`](crate::gate::Operation) over the engine [`Vault`] and runs through the gate only.
//! A value is sealed under its vault's data key, bound to vault, object and version; what is cached is the sealed row,
//! never the value. A hit costs one decision, one opening and no query.
//!
//! It must never hold a value in the clear longer than one act, answer from a row that a commit of this node has
//! replaced, or touch the token on a read whose data key is live. A new act is a struct in a file here; its SQL goes
//! to `repo`.

mod cache;
mod delete;
mod describe;
mod keys;
mod page;
mod purge;
mod read;
mod repo;
mod retention;
mod set;
mod vaults;
mod version;

use std::sync::Arc;

use serde::Deserialize;

use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::error::Result;
use crate::hsm::Hsm;
use crate::id::{Label, ObjectName};
use crate::seal::{self, Sealer};
use crate::store::Store;

use cache::Cache;
use keys::Keys;
use repo::Sealed;

pub use delete::{DeleteSecret, RecoverSecret};
pub use describe::{ListSecretVersions, ListSecrets, ShowSecret, Versions};
pub use keys::{
    Attributes, Change, CipherAlgorithm, Ciphertext, CreateDataKey, CreateKey, DATA_MAX_BYTES, DataKey, DecryptData,
    Decrypted, DeleteKey, EncryptData, Encrypted, EncryptionContext, KeyDescribed, KeyKind, KeyOp, KeyOps,
    KeyProtection, KeyVersion, KeyVersions, ListKeyVersions, ListKeys, Made, ReadRandom, RecoverKey, ReencryptData,
    Reencrypted, RotateKey, ShowKey, SignAlgorithm, SignData, SignatureFormat, Signed, ToSign, UnwrapKey, Unwrapped,
    UpdateKey, Verdict, VerifySignature, WrapAlgorithm, WrapKey, Wrapped,
};
pub use page::Page;
pub use read::{ReadSecret, SecretValue};
pub use retention::{Deleted, RETENTION};
pub use set::{Expect, SetSecret, VALUE_MAX_BYTES};
pub use vaults::{CreateVault, ListVaults, ShowVault, VaultEntry};
pub use version::{ContentType, Described, Tags, Version, VersionRef};

/// How the vault uses memory.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Room for sealed current values, in bytes; as much again for sealed keys.
    pub cache_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cache_bytes: 64 * 1024 * 1024,
        }
    }
}

/// The engine behind every vault of this service.
pub struct Vault {
    store: Store,
    sealer: Sealer,
    entropy: Arc<dyn Entropy>,
    cache: Arc<Cache<Sealed>>,
    keys: Keys,
}

impl Vault {
    /// Over `store`, with values sealed by `sealer` and keys of protection `hsm` in the token behind `hsm`.
    pub fn new(
        settings: &Settings,
        store: Store,
        sealer: Sealer,
        hsm: Hsm,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self {
            keys: Keys::new(settings, hsm, store.clone(), clock),
            store,
            sealer,
            entropy,
            cache: Arc::new(Cache::new(settings.cache_bytes)),
        }
    }

    /// Tries whether the token keeps users' keys as it must, if there may be any: nobody who has its PIN and a wrapped
    /// key may get the plain one.
    ///
    /// # Errors
    /// `Conflict` if it does not: keys of protection `hsm` are refused then. `Unavailable` if it does not answer.
    pub async fn check_token(&self) -> Result<()> {
        self.keys.check_token().await
    }
}

/// The sealing domain of a vault.
fn domain(vault: &Label) -> String {
    format!("vault/{vault}")
}

/// What one version of a secret is sealed as.
fn binding(name: &ObjectName, version: &Version) -> Vec<u8> {
    seal::binding(&[
        &format!("secrets/{name}"),
        &format!("{}.{}", version.ordinal, version.id),
    ])
}
