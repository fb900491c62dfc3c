//! Bytes that must not be shown: no `Debug`, no `Display`, no `Serialize`, wiped when dropped.

use std::fmt;
use std::path::PathBuf;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// A secret value. It can be read only by [`Secret::expose`], so that every place which does is found by one search.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes themselves. SECURITY: never log, format or store what this returns.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Where a secret in the configuration is kept: `{ file = "…" }` or `{ env = "…" }`, never the value itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRef {
    /// The named environment variable.
    Env(String),
    /// The file's content; one line end at its end is cut.
    File(PathBuf),
}

// SECURITY: by hand, because a derived one repeats in its message what stands in the reference's place, and that may be
// the secret itself.
impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(Reference)
    }
}

/// What a [`SecretRef`] is read by.
struct Reference;

impl Reference {
    fn misplaced<T, E: de::Error>() -> std::result::Result<T, E> {
        Err(E::custom(
            "a secret does not stand in the configuration: write `{ file = \"…\" }` or `{ env = \"…\" }`",
        ))
    }
}

impl<'de> Visitor<'de> for Reference {
    type Value = SecretRef;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`{ file = \"…\" }` or `{ env = \"…\" }`")
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> std::result::Result<SecretRef, E> {
        Self::misplaced()
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> std::result::Result<SecretRef, E> {
        Self::misplaced()
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> std::result::Result<SecretRef, E> {
        Self::misplaced()
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> std::result::Result<SecretRef, E> {
        Self::misplaced()
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> std::result::Result<SecretRef, E> {
        Self::misplaced()
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> std::result::Result<SecretRef, E> {
        Self::misplaced()
    }

    fn visit_str<E: de::Error>(self, _: &str) -> std::result::Result<SecretRef, E> {
        Self::misplaced()
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<SecretRef, A::Error> {
        let reference = match map.next_key::<String>()?.as_deref() {
            Some("env") => SecretRef::Env(map.next_value()?),
            Some("file") => SecretRef::File(map.next_value()?),
            _ => return Self::misplaced(),
        };
        match map.next_key::<String>()? {
            None => Ok(reference),
            Some(_) => Self::misplaced(),
        }
    }
}

impl SecretRef {
    /// Reads the secret.
    ///
    /// # Errors
    /// `Invalid` if the file or variable cannot be read or is empty; the text names it, never its content.
    #[expect(
        clippy::disallowed_methods,
        reason = "a secret by reference names its variable in the configuration"
    )]
    pub fn read(&self) -> Result<Secret> {
        let mut bytes = match self {
            Self::Env(name) => std::env::var(name).map(String::into_bytes).map_err(|e| {
                Error::invalid(format!("environment variable `{name}` cannot be read: set it")).because(e)
            })?,
            Self::File(path) => std::fs::read(path).map_err(|e| {
                Error::invalid(format!("secret file `{}` cannot be read: {e}", path.display())).because(e)
            })?,
        };
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        if bytes.is_empty() {
            return Err(Error::invalid(format!("the secret from {self:?} is empty")));
        }
        Ok(Secret::new(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Holder {
        pin: SecretRef,
    }

    #[test]
    fn a_reference_is_one_file_or_one_variable() {
        let read = |text: &str| toml::from_str::<Holder>(text).map(|holder| holder.pin);
        assert_eq!(read("pin = { file = '/p' }").unwrap(), SecretRef::File("/p".into()));
        assert_eq!(read("pin = { env = 'P' }").unwrap(), SecretRef::Env("P".into()));
        assert!(read("pin = { env = 'P', file = '/p' }").is_err());
        assert!(read("pin = {}").is_err());
    }

    #[test]
    fn a_secret_in_the_place_of_a_reference_is_not_repeated() {
        for misplaced in ["'73018'", "73018", "73018.5", "{ pin = '73018' }", "{ '73018' = 'x' }"] {
            let error = toml::from_str::<Holder>(&format!("pin = {misplaced}")).unwrap_err();
            assert!(error.message().contains("{ file ="), "{error}");
            assert!(!error.message().contains("73018"), "{error}");
        }
    }
}
