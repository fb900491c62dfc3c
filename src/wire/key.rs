//! Keys: what is known about them, and how they are made and changed. Never a private half.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::or_null::{OrNull, said};
use super::rfc3339;
use crate::clock::Timestamp;
use crate::id::ObjectName;

/// Makes a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateKey {
    /// Its name, which must be free.
    pub name: ObjectName,
    /// What sort of key, for example `ec-p256`; a wrong one is answered with all that there are.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where its private half is kept and used: `hsm`, or `software`, which is taken if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protection: Option<String>,
    /// Whether its private half may be exported; not of keys of protection `hsm`.
    #[serde(default)]
    pub exportable: bool,
    /// What it may be used for (RFC 7517 §4.3); all that its type can if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_ops: Option<Vec<String>>,
    /// Whether it may be used at all.
    #[serde(default = "super::yes")]
    pub enabled: bool,
    /// Before, it encrypts, wraps and signs nothing.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// From then on, it encrypts, wraps and signs nothing.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// Gives a key a new version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateKey {
    /// When the new version expires.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

/// Changes a version of a key. What is left out stays; a time that is `null` is taken away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateKey {
    /// Whether it may be used at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Before, it encrypts, wraps and signs nothing.
    #[serde(default, deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    pub not_before: Option<OrNull>,
    /// From then on, it encrypts, wraps and signs nothing.
    #[serde(default, deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    pub expires: Option<OrNull>,
    /// What it may be used for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_ops: Option<Vec<String>>,
    /// Labels, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, String>>,
}

/// What is known about a key, with one of its versions: the current one, if no other was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Its id, which its envelopes carry.
    pub id: String,
    /// Grows with every change of it; the `etag`.
    pub revision: u64,
    /// The version.
    #[serde(flatten)]
    pub version: KeyVersion,
}

/// What is known about one version of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyVersion {
    /// The key's name.
    pub name: ObjectName,
    /// The version's id, 32 hexadecimal digits.
    pub version: String,
    /// The version's place in the history, from 1.
    pub ordinal: u64,
    /// Whether a use without a version takes this one.
    pub current: bool,
    /// What sort of key it is.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where its private half is kept and used.
    pub protection: String,
    /// Whether its private half may be exported.
    #[serde(default)]
    pub exportable: bool,
    /// Whether it may be used at all.
    pub enabled: bool,
    /// Before, it encrypts, wraps and signs nothing.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// From then on, it encrypts, wraps and signs nothing.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// What it may be used for.
    pub key_ops: Vec<String>,
    /// When it was made.
    #[serde(with = "rfc3339")]
    pub created: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// When it last changed.
    #[serde(with = "rfc3339")]
    pub updated: Timestamp,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// The public half, PEM; not in lists, and not of symmetric keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key_pem: Option<String>,
    /// The public half as a JWK (RFC 7517); where the PEM is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwk: Option<serde_json::Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_left_taken_away_or_set() {
        let read = |text: &str| serde_json::from_str::<UpdateKey>(text).unwrap();
        assert_eq!(read("{}"), UpdateKey::default());
        assert_eq!(read(r#"{"expires":null}"#).expires, Some(OrNull(None)));
        let set = read(r#"{"expires":"1970-01-01T00:00:05Z"}"#);
        assert_eq!(set.expires, Some(OrNull(Some(Timestamp::from_unix(5)))));
        for update in [read("{}"), read(r#"{"expires":null}"#), set] {
            assert_eq!(read(&serde_json::to_string(&update).unwrap()), update);
        }
    }
}
