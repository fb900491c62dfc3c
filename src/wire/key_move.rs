//! Keys that come from elsewhere, and keys that may leave.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::base64::SecretBase64;
use super::rfc3339;
use crate::clock::Timestamp;
use crate::id::ObjectName;

/// Keeps a key that was made elsewhere, under a name that must be free, or as a new version of the key that has it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportKey {
    /// The key, as `format` says; wrapped if `wrapped_by` is there.
    pub key: SecretBase64,
    /// `pkcs8` (DER or PEM), which is taken if it is left out, `jwk`, or `raw` for the bytes of a symmetric key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// What sort of key it is; bare bytes do not say it.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// It becomes the current version of the key of that name, whose type it must have. What is left out of `protection`,
    /// `exportable`, `key_ops` and `tags` is as in the version before.
    #[serde(default)]
    pub new_version: bool,
    /// By what it is wrapped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrapped_by: Option<WrappedBy>,
    /// As in [`CreateKey`](super::CreateKey).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protection: Option<String>,
    /// As in [`CreateKey`](super::CreateKey).
    #[serde(default)]
    pub exportable: bool,
    /// As in [`CreateKey`](super::CreateKey).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_ops: Option<Vec<String>>,
    /// As in [`CreateKey`](super::CreateKey).
    #[serde(default = "super::yes")]
    pub enabled: bool,
    /// As in [`CreateKey`](super::CreateKey).
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// As in [`CreateKey`](super::CreateKey).
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// By which RSA key of the same vault a key is wrapped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrappedBy {
    /// Its name; one of its uses must be `unwrapKey`.
    pub name: ObjectName,
    /// Its version, by ordinal or id; the current one if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `RSA-AES-KWP-256`, `RSA-AES-KWP`, or for symmetric keys `RSA-OAEP-256` or `RSA-OAEP`.
    pub algorithm: String,
}

/// Asks for the private half of a key that was made exportable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportKey {
    /// A version, by ordinal or id; the current one if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `jwk`, which is taken if it is left out, `pkcs8` for key pairs, or `raw` for symmetric keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
}

/// A key that leaves.
#[derive(Serialize, Deserialize)]
pub struct ExportedKey {
    /// Its name.
    pub name: ObjectName,
    /// The version's id.
    pub version: String,
    /// The version's place in the history.
    pub ordinal: u64,
    /// How it is written.
    pub format: String,
    /// It.
    pub key: SecretBase64,
}
