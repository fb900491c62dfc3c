//! Secrets: values and what is known about them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::SecretText;
use super::rfc3339;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::ObjectName;
use crate::secret;

/// The largest value of a secret, in bytes (before any encoding).
pub const SECRET_MAX_BYTES: usize = 64 * 1024;

/// How a value's bytes stand in its JSON string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// RFC 4648 §4 with padding; any bytes.
    Base64,
    /// The bytes are UTF-8 and stand as they are.
    #[default]
    Utf8,
}

/// Sets a secret's value: a new version, which becomes the current one.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetSecret {
    /// The value, in `encoding`; left out if it is to be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<SecretText>,
    /// How `value` is written; `utf8` if it is left out.
    #[serde(default)]
    pub encoding: Encoding,
    /// How a value is made, in place of `value`. It is not answered: read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generate: Option<Generate>,
    /// What the value is, for example `text/plain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Notes beside the new version.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Whether the value may be read.
    #[serde(default = "super::yes", skip_serializing_if = "Clone::clone")]
    pub enabled: bool,
    /// Before, it should not be used.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// From then on, it should not be used.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// The labels that are to point at the new version. It becomes the current one if there are none, if `AWSCURRENT` is
    /// among them, or if it is the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
}

impl SetSecret {
    /// A request that sets exactly these bytes.
    pub fn new(value: &secret::Secret) -> Self {
        let (value, encoding) = encode(value);
        Self {
            value: Some(value),
            encoding,
            ..Self::made(None)
        }
    }

    /// A request that has a value made.
    pub fn generated(rules: Generate) -> Self {
        Self::made(Some(rules))
    }

    fn made(generate: Option<Generate>) -> Self {
        Self {
            value: None,
            encoding: Encoding::default(),
            generate,
            content_type: None,
            tags: BTreeMap::new(),
            enabled: true,
            not_before: None,
            expires: None,
            labels: Vec::new(),
        }
    }

    /// The bytes to store; none, if they are to be made.
    ///
    /// # Errors
    /// `Invalid` if the value is not in its encoding, or is longer than [`SECRET_MAX_BYTES`].
    pub fn bytes(&self) -> Result<Option<secret::Secret>> {
        self.value
            .as_ref()
            .map(|value| decode(value, self.encoding))
            .transpose()
    }
}

/// How a value is made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generate {
    /// `password`, `token` (random bytes in base64url) or `uuid`.
    pub kind: String,
    /// How many characters a password has, or bytes a token: 1 to 4096, 32 if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<usize>,
    /// Characters that do not stand in a password.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub exclude_characters: String,
    /// Classes that do not stand in a password: `digits`, `lowercase`, `punctuation`, `uppercase`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Whether one of each class that is left must stand in a password.
    #[serde(default)]
    pub require_each: bool,
}

/// A secret's value, with the version that it is of.
#[derive(Serialize, Deserialize)]
pub struct SecretValue {
    /// The secret's name.
    pub name: ObjectName,
    /// The version's id, 32 hexadecimal digits.
    pub version: String,
    /// The version's place in the history, from 1.
    pub ordinal: u64,
    /// The value, in `encoding`.
    pub value: SecretText,
    /// How `value` is written: `utf8` where the bytes allow it.
    pub encoding: Encoding,
}

impl SecretValue {
    /// An answer that carries exactly these bytes.
    pub fn new(name: ObjectName, version: String, ordinal: u64, value: &secret::Secret) -> Self {
        let (value, encoding) = encode(value);
        Self {
            name,
            version,
            ordinal,
            value,
            encoding,
        }
    }

    /// The bytes.
    ///
    /// # Errors
    /// As [`SetSecret::bytes`].
    pub fn bytes(&self) -> Result<secret::Secret> {
        decode(&self.value, self.encoding)
    }
}

fn encode(value: &secret::Secret) -> (SecretText, Encoding) {
    match std::str::from_utf8(value.expose()) {
        Ok(text) => (SecretText::new(text.to_owned()), Encoding::Utf8),
        Err(_) => (SecretText::new(BASE64.encode(value.expose())), Encoding::Base64),
    }
}

fn decode(value: &SecretText, encoding: Encoding) -> Result<secret::Secret> {
    let bytes = match encoding {
        Encoding::Utf8 => value.expose().as_bytes().to_vec(),
        Encoding::Base64 => {
            let mut bytes = Zeroizing::new(Vec::with_capacity(value.expose().len() / 4 * 3 + 3));
            BASE64
                .decode_vec(value.expose(), &mut bytes)
                .map_err(|_| Error::invalid("the value is not base64: use the standard alphabet with padding"))?;
            std::mem::take(&mut *bytes)
        }
    };
    let bytes = secret::Secret::new(bytes);
    if bytes.len() > SECRET_MAX_BYTES {
        return Err(Error::invalid(format!(
            "the value has {} bytes: a secret holds at most {SECRET_MAX_BYTES}",
            bytes.len()
        )));
    }
    Ok(bytes)
}

/// What is known about a secret, with one of its versions: the current one, if no other was asked for. Never its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// Its name.
    pub name: ObjectName,
    /// The version's id.
    pub version: String,
    /// The version's place in the history, from 1.
    pub ordinal: u64,
    /// When the first version was set.
    #[serde(with = "rfc3339")]
    pub created: Timestamp,
    /// When it last changed.
    #[serde(with = "rfc3339")]
    pub updated: Timestamp,
    /// Grows with every change of it; the `etag`.
    pub revision: u64,
    /// The version's.
    #[serde(flatten)]
    pub attributes: SecretAttributes,
}

/// What stands beside a version's value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretAttributes {
    /// Whether a read without a version answers this one.
    pub current: bool,
    /// Whether the value may be read.
    pub enabled: bool,
    /// Before, it should not be used.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// From then on, it should not be used.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// The labels that point at it.
    pub labels: Vec<String>,
    /// What the value is, as its writer said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Notes beside it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// When the value is destroyed; until then it can be recovered.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub recoverable_until: Option<Timestamp>,
    /// When the value was destroyed.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub destroyed: Option<Timestamp>,
}

/// What is known about one version of a secret; never its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretVersion {
    /// The secret's name.
    pub name: ObjectName,
    /// The version's id, 32 hexadecimal digits.
    pub version: String,
    /// The version's place in the history, from 1.
    pub ordinal: u64,
    /// When it was set.
    #[serde(with = "rfc3339")]
    pub created: Timestamp,
    /// Who set it.
    pub created_by: String,
    /// When its attributes last changed.
    #[serde(with = "rfc3339")]
    pub updated: Timestamp,
    /// What stands beside the value.
    #[serde(flatten)]
    pub attributes: SecretAttributes,
}

/// A secret or a key that was deleted and can be recovered for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// Its name, which stays taken until then.
    pub name: ObjectName,
    /// When it was deleted.
    #[serde(with = "rfc3339")]
    pub deleted: Timestamp,
    /// Until when it can be recovered.
    #[serde(with = "rfc3339")]
    pub recoverable_until: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(bytes: &[u8]) -> (serde_json::Value, Vec<u8>) {
        let json = serde_json::to_value(SetSecret::new(&secret::Secret::new(bytes.to_vec()))).unwrap();
        let back: SetSecret = serde_json::from_value(json.clone()).unwrap();
        (json, back.bytes().unwrap().unwrap().expose().to_vec())
    }

    #[test]
    fn exactly_the_bytes_come_back() {
        for bytes in [
            &b""[..],
            b"hunter2\n",
            b"\xff\x00\xfe",
            "\u{0}\u{1f980}\r\n\"".as_bytes(),
        ] {
            assert_eq!(round_trip(bytes).1, bytes);
        }
        assert_eq!(
            round_trip(b"a").0,
            serde_json::json!({"value": "a", "encoding": "utf8"})
        );
        assert_eq!(
            round_trip(b"\xff").0,
            serde_json::json!({"value": "/w==", "encoding": "base64"})
        );
    }

    #[test]
    fn text_needs_no_encoding_and_wrong_requests_are_refused() {
        let plain: SetSecret = serde_json::from_str(r#"{"value":"a"}"#).unwrap();
        assert_eq!(plain.bytes().unwrap().unwrap().expose(), b"a");
        assert!(serde_json::from_str::<SetSecret>(r#"{"value":"a","encodin":"base64"}"#).is_err());
        let broken: SetSecret = serde_json::from_str(r#"{"value":"a","encoding":"base64"}"#).unwrap();
        assert!(broken.bytes().is_err());
        let long = SetSecret::new(&secret::Secret::new(vec![b'x'; SECRET_MAX_BYTES + 1]));
        assert!(long.bytes().is_err());
    }
}
