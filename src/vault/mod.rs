//! Vaults and the secrets in them: versions, deletion with recovery, and reading without the token.
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

use crate::entropy::Entropy;
use crate::id::{Label, ObjectName};
use crate::seal::{self, Sealer};
use crate::store::Store;

use cache::Cache;

pub use delete::{DeleteSecret, RecoverSecret};
pub use describe::{ListSecretVersions, ListSecrets, ShowSecret, Versions};
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
    /// Room for sealed current values, in bytes.
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
    cache: Arc<Cache>,
}

impl Vault {
    /// Over `store`, with values sealed by `sealer`.
    pub fn new(settings: &Settings, store: Store, sealer: Sealer, entropy: Arc<dyn Entropy>) -> Self {
        Self {
            store,
            sealer,
            entropy,
            cache: Arc::new(Cache::new(settings.cache_bytes)),
        }
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
