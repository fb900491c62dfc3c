//! Vaults, the secrets and the keys in them: versions, deletion with recovery, and use without the token.
//!
//! Every act here is an [`Operation`](crate::gate::Operation) over the engine [`Vault`] and runs through the gate only.
//! What they hold is sealed under their vault's data key, bound to vault, object and version. Secrets are in `secrets`,
//! keys in `keys`; what both have in common is here.
//!
//! It must never hold a value in the clear longer than one act, answer from a row that a commit of this node has
//! replaced, or touch the token on a read whose data key is live. A new act is a struct in a file of its kind; its SQL
//! goes to `repo`.

mod backup;
mod cache;
mod ending;
mod keys;
mod names;
mod page;
mod purge;
mod rekey;
mod repo;
mod retention;
mod secrets;
mod vaults;
mod version;

use std::sync::Arc;

use serde::Deserialize;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::error::Result;
use crate::hsm::Hsm;
use crate::id::Label;
use crate::seal::Sealer;
use crate::store::Store;

use cache::Cache;
use keys::Keys;
use rekey::Rekey;

pub use backup::{BACKUP_MAX_BYTES, BACKUP_MAX_VERSIONS, ObjectBackup};
pub use ending::{DeleteVault, PurgeVault, RecoverVault};
pub use keys::{
    Attributes, BackupKey, Change, CipherAlgorithm, Ciphertext, CreateDataKey, CreateKey, DATA_MAX_BYTES, DataKey,
    DecryptData, Decrypted, DeleteKey, DeriveSecret, EncryptData, Encrypted, EncryptionContext, ExportKey, ExportedKey,
    ImportKey, ImportKeyVersion, ImportWrap, KeyDescribed, KeyFormat, KeyKind, KeyOp, KeyOps, KeyProtection,
    KeyVersion, KeyVersions, ListKeyVersions, ListKeys, Made, NewKey, NewVersion, PurgeKey, ReadRandom, RecoverKey,
    ReencryptData, Reencrypted, RestoreKey, RotateKey, SharedSecret, ShowKey, SignAlgorithm, SignData, SignatureFormat,
    Signed, ToSign, UnwrapKey, Unwrapped, UpdateKey, Verdict, VerifySignature, WrapAlgorithm, WrapKey, Wrapped,
    WrappedBy,
};
pub use page::Page;
pub use rekey::{AdoptKek, ListKeks, RetireKek, RotateKek};
pub use retention::{Deleted, RETENTION_DAYS, Until};
pub use secrets::{
    BackupSecret, Cadence, CharacterClass, ContentType, DeleteSecret, Described, DestroySecretVersion, ExecSettings,
    Expect, Generate, LabelSecretVersion, ListSecretVersions, ListSecrets, NewValue, PasswordRules, PurgeSecret,
    ReadSecret, RecoverSecret, RecoverSecretVersion, RemoveSecretRotation, RestoreSecret, RotateSecret, Rotation,
    RotationPolicy, RotatorSettings, Rotators, Schedule, SecretAttributes, SecretChange, SecretFilter, SecretState,
    SecretValue, SetSecret, SetSecretRotation, ShowSecret, ShowSecretRotation, TagFilter, UpdateSecret,
    VALUE_MAX_BYTES, Version, VersionLabel, WebhookSettings, WhichVersion,
};
pub use vaults::{CreateVault, ListVaults, ShowVault, UpdateVault, VaultEntry};
pub use version::{Tags, VersionRef};

/// How the vault uses memory.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Room for sealed current values, in bytes; as much again for sealed keys.
    pub cache_bytes: u64,
    /// Labels of generations of the key-encryption key that the token holds and the store does not know, to be taken over at the
    /// start: the store was restored from before they were made. Without them such a token is refused.
    pub adopt_keks: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cache_bytes: 64 * 1024 * 1024,
            adopt_keks: Vec::new(),
        }
    }
}

/// The engine behind every vault of this service.
pub struct Vault {
    store: Store,
    sealer: Sealer,
    entropy: Arc<dyn Entropy>,
    secrets: Arc<Cache<secrets::Sealed>>,
    keys: Keys,
    rekey: Rekey,
    rotators: Rotators,
    /// There may be something to rotate.
    wake: Arc<Notify>,
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
            rekey: Rekey::new(hsm.clone(), clock.clone()),
            keys: Keys::new(settings, hsm, store.clone(), clock),
            store,
            sealer,
            entropy,
            secrets: secrets::cache(settings),
            rotators: Rotators::default(),
            wake: Arc::default(),
        }
    }

    /// The same, with those by whom secrets may be rotated.
    #[must_use]
    pub fn with_rotators(self, rotators: Rotators) -> Self {
        Self { rotators, ..self }
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
