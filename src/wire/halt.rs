//! What is refused although a profile would allow it: issuing that was stopped, and blocked keys.

use serde::{Deserialize, Serialize};

use super::rfc3339;
use crate::clock::Timestamp;
use crate::id::Label;

/// Stops issuing, on every node before its next certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopIssuing {
    /// Of which authority; of all if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<Label>,
    /// By which profile; by all if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Label>,
    /// Why; told to whoever is refused.
    pub reason: String,
}

/// Takes exactly that stop back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResumeIssuing {
    /// As the stop says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<Label>,
    /// As the stop says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Label>,
}

/// Where issuing is stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuingStop {
    /// Of which authority; of all if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<Label>,
    /// By which profile; by all if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Label>,
    /// Why.
    pub reason: String,
    /// Since when.
    #[serde(with = "rfc3339")]
    pub stopped: Timestamp,
    /// Who said so.
    pub stopped_by: String,
}

/// Blocks a key: no authority certifies it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockKey {
    /// SHA-256 of its DER `SubjectPublicKeyInfo`, hexadecimal.
    pub spki_sha256: String,
    /// Why.
    pub reason: String,
}

/// A key that is never certified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockedKey {
    /// SHA-256 of its DER `SubjectPublicKeyInfo`, lower-case hexadecimal.
    pub spki_sha256: String,
    /// Why.
    pub reason: String,
    /// Since when.
    #[serde(with = "rfc3339")]
    pub blocked: Timestamp,
    /// Who said so.
    pub blocked_by: String,
}
