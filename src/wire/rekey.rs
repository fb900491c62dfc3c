//! Replacing the keys that seal.

use serde::{Deserialize, Serialize};

use super::rfc3339;
use crate::clock::Timestamp;

/// The generations of the key-encryption key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keks {
    /// Oldest first.
    pub keks: Vec<Kek>,
}

/// A generation of the key-encryption key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kek {
    /// From 1.
    pub generation: u32,
    /// The key's label in the token.
    pub label: String,
    /// `requested`, `active`, `former` or `retired`.
    pub stage: String,
    /// Since when, if that is known.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// How many data keys it wraps; of a former one, how many are left to be wrapped anew.
    pub data_keys: u64,
}
