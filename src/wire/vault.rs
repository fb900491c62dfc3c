//! Vaults: the namespaces that objects live in.

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
}

/// A vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vault {
    /// Its name.
    pub name: Label,
    /// When it was made.
    #[serde(with = "rfc3339")]
    pub created: Timestamp,
}
