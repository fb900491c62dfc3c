//! Secrets: values by version, the attributes and labels of versions, deletion with recovery.
//!
//! A value is sealed under its vault's data key, bound to vault, secret and version; what is cached is the sealed row of
//! the current version, never the value. A hit costs one decision, one opening and no query.
//!
//! It must never answer from a row that a commit of this node has replaced, or keep a value in the clear longer than one
//! act. What changes a secret that is there goes through `change`; its SQL is in the two `repo.rs`.

mod backup;
mod change;
mod delete;
mod describe;
mod destroy;
mod filter;
mod generate;
mod label;
mod point;
mod read;
mod repo;
mod rotation;
mod set;
mod update;
mod version;

use super::Settings;
use super::cache::Cache;
use crate::id::ObjectName;
use crate::seal;

use std::sync::Arc;

pub(super) use repo::Sealed;

pub use backup::{BackupSecret, RestoreSecret};
pub use delete::{DeleteSecret, PurgeSecret, RecoverSecret};
pub use describe::{ListSecretVersions, ListSecrets, ShowSecret};
pub use destroy::{DestroySecretVersion, RecoverSecretVersion};
pub use filter::{SecretFilter, SecretState, TagFilter};
pub use generate::{CharacterClass, Generate, PasswordRules};
pub use label::{VersionLabel, WhichVersion};
pub use point::LabelSecretVersion;
pub use read::{ReadSecret, SecretValue};
pub use rotation::{
    Cadence, ExecSettings, RemoveSecretRotation, RotateSecret, Rotation, RotationPolicy, RotatorSettings, Rotators,
    Schedule, SetSecretRotation, ShowSecretRotation, WebhookSettings,
};
pub use set::{Expect, NewValue, SetSecret, VALUE_MAX_BYTES};
pub use update::{SecretChange, UpdateSecret};
pub use version::{ContentType, Described, SecretAttributes, Version};

/// An empty cache of what is read again and again.
pub(super) fn cache(settings: &Settings) -> Arc<Cache<Sealed>> {
    Arc::new(Cache::new(settings.cache_bytes))
}

/// What one version of a secret is sealed as.
fn binding(name: &ObjectName, version: &Version) -> Vec<u8> {
    seal::binding(&[
        &format!("secrets/{name}"),
        &format!("{}.{}", version.ordinal, version.id),
    ])
}
