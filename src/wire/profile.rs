//! Versions of the profiles that our authorities issue by.

use serde::{Deserialize, Serialize};

use super::rfc3339;
use crate::clock::Timestamp;
use crate::id::Label;

/// A version of a profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// The profile's name.
    pub name: Label,
    /// SHA-256 of its text, lower-case hexadecimal.
    pub version: String,
    /// Whether what is asked for now is issued by it.
    pub current: bool,
    /// When a start of the service first read it.
    #[serde(with = "rfc3339")]
    pub adopted: Timestamp,
    /// Its file, as it was read; left out in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// Which version of a profile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileQuery {
    /// SHA-256 of its text; the one in force if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}
