//! Vaults: the namespaces that objects live in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::rfc3339;
use crate::clock::Timestamp;
use crate::id::Label;

/// Makes a vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateVault {
    /// Its name, a DNS label.
    pub name: Label,
    /// Notes beside it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// For how many days what is deleted can be recovered, 7 to 90; 90 if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_days: Option<u32>,
    /// Whether nobody may remove before that what is deleted. It cannot be switched off.
    #[serde(default)]
    pub purge_protection: bool,
}

impl CreateVault {
    /// A vault of which nothing else is said.
    pub fn new(name: Label) -> Self {
        Self {
            name,
            tags: BTreeMap::new(),
            retention_days: None,
            purge_protection: false,
        }
    }
}

/// Changes a vault. What is left out stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateVault {
    /// Notes beside it, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, String>>,
    /// For how many days what is deleted from now on can be recovered, 7 to 90; under purge protection not fewer than
    /// before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_days: Option<u32>,
    /// Whether nobody may remove before that what is deleted. It cannot be switched off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purge_protection: Option<bool>,
}

/// A vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vault {
    /// Its name.
    pub name: Label,
    /// When it was made.
    #[serde(with = "rfc3339")]
    pub created: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// Notes beside it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// For how many days what is deleted can be recovered.
    pub retention_days: u32,
    /// Whether nobody may remove before that what is deleted.
    pub purge_protection: bool,
    /// Grows with every change of it; the `etag`.
    pub revision: u64,
    /// When it was deleted, if it is.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Timestamp>,
    /// Until when it can be recovered, if it is deleted.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub recoverable_until: Option<Timestamp>,
}
