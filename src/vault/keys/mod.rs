//! Keys: made here, sealed like secrets, and used here without ever being shown.
//!
//! The private half of a version is sealed under its vault's data key, bound to vault, key, version and kind, and opened
//! to be used. An opened key is held for a while, because opening one costs more than using it; what is cached beside it
//! is the sealed row. So a use costs one decision, one look into the cache and the arithmetic, and no call of the token.
//! Of a key of protection `hsm` what is sealed is the key as the token wrapped it, and the arithmetic is the token's.
//! Using a key is a *read* of the gate: its record is durable before the answer leaves.
//!
//! It must never hand out a private half, tell apart why a ciphertext does not open, or use a version against its
//! attributes. A new kind is a value in `kind`, a new algorithm one in `algorithm`: the compiler leads on from there.

mod algorithm;
mod backup;
mod cipher;
mod create;
mod delete;
mod derive;
mod describe;
mod encrypt;
mod envelope;
mod export;
mod import;
mod in_token;
mod kind;
mod material;
mod oaep;
mod peer;
mod portable;
mod public;
mod random;
mod repo;
mod sign;
mod signature;
mod update;
mod using;
mod version;
mod wrap;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::cache::{Cache, Key};
use super::{Settings, domain};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::hsm::Hsm;
use crate::seal;
use crate::store::Store;

use in_token::TokenKeys;
use material::Material;
use using::Hot;
use version::KeyVersion as Version;

pub use algorithm::{CipherAlgorithm, SignAlgorithm, WrapAlgorithm};
pub use backup::{BackupKey, RestoreKey};
pub use cipher::Ciphertext;
pub use create::{CreateKey, NewKey, NewVersion, RotateKey};
pub use delete::{DeleteKey, PurgeKey, RecoverKey};
pub use derive::{DeriveSecret, SharedSecret};
pub use describe::{KeyVersions, ListKeyVersions, ListKeys, ShowKey};
pub use encrypt::{CreateDataKey, DataKey, DecryptData, Decrypted, EncryptData, Encrypted, ReencryptData, Reencrypted};
pub use envelope::EncryptionContext;
pub use export::{ExportKey, ExportedKey};
pub use import::{ImportKey, ImportKeyVersion, ImportWrap, WrappedBy};
pub use kind::{KeyKind, KeyOp, KeyOps, KeyProtection};
pub use portable::KeyFormat;
pub use random::ReadRandom;
pub use sign::{SignatureFormat, ToSign};
pub use signature::{SignData, Signed, Verdict, VerifySignature};
pub use update::{Change, UpdateKey};
pub use version::{Attributes, KeyDescribed, KeyVersion, Made};
pub use wrap::{UnwrapKey, Unwrapped, WrapKey, Wrapped};

/// The most that is encrypted, signed or drawn at once, in bytes.
pub const DATA_MAX_BYTES: usize = 64 * 1024;

/// How long an opened key is held.
const OPENED: Duration = Duration::from_secs(300);
/// How many opened keys are held.
const OPENED_MOST: u64 = 4096;

/// What this process holds of keys.
pub(super) struct Keys {
    token: TokenKeys,
    cache: Arc<Cache<Hot>>,
    /// By what they were sealed as, so that a row which somebody moved finds no key that was opened elsewhere.
    opened: moka::sync::Cache<Vec<u8>, Arc<Material>>,
    /// As many slow uses at once as there are processors.
    slow: Arc<Semaphore>,
}

impl Keys {
    pub(super) fn new(settings: &Settings, hsm: Hsm, store: Store, clock: Arc<dyn Clock>) -> Self {
        let opened = moka::sync::Cache::builder()
            .max_capacity(OPENED_MOST)
            .time_to_live(OPENED)
            .build();
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Self {
            token: TokenKeys::new(hsm, store, clock),
            cache: Arc::new(Cache::new(settings.cache_bytes)),
            opened,
            slow: Arc::new(Semaphore::new(processors)),
        }
    }

    /// Tries whether the token keeps users' keys as it must, if there may be any.
    pub(super) async fn check_token(&self) -> Result<()> {
        self.token.check().await
    }

    /// What is cached of keys.
    pub(super) fn cache(&self) -> Arc<Cache<Hot>> {
        self.cache.clone()
    }

    /// Wipes opened keys whose time is over, which otherwise waits for the next use of any key.
    pub(super) fn wipe_idle(&self) {
        self.opened.run_pending_tasks();
    }

    /// Does what takes long on a thread of its own.
    async fn slowly<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let _place = self
            .slow
            .acquire()
            .await
            .map_err(|e| Error::internal("the places of slow work are gone").because(e))?;
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|e| Error::internal("slow work was cut off").because(e))?
    }
}

/// What one version of a key is sealed as.
fn binding(key: &Key, version: &Version) -> Vec<u8> {
    let (name, place) = (
        format!("keys/{}", key.name),
        format!("{}.{}", version.ordinal, version.id),
    );
    let mut parts = vec![name.as_str(), &place, version.kind.as_str()];
    match version.protection {
        KeyProtection::Hsm => parts.push(KeyProtection::Hsm.as_str()),
        KeyProtection::Software => {}
    }
    if version.exportable {
        parts.push("exportable");
    }
    seal::binding(&parts)
}
