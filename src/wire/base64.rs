//! Bytes on the wire: RFC 4648 §4 with padding.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// Bytes that anybody may see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Base64(pub Vec<u8>);

impl Base64 {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Spelled).map(|bytes| Self(bytes.to_vec()))
    }
}

/// Bytes that must not be shown: no `Debug`, wiped when dropped.
///
/// SECURITY: a buffer that they were parsed from or written to is the caller's to wipe.
#[derive(Clone)]
pub struct SecretBase64(pub Secret);

impl Serialize for SecretBase64 {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&Zeroizing::new(STANDARD.encode(self.0.expose())))
    }
}

impl<'de> Deserialize<'de> for SecretBase64 {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut bytes = from.deserialize_str(Spelled)?;
        Ok(Self(Secret::new(std::mem::take(&mut *bytes))))
    }
}

/// SECURITY: what stands there is never repeated.
struct Spelled;

impl Visitor<'_> for Spelled {
    type Value = Zeroizing<Vec<u8>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("base64 (standard alphabet, padding)")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() / 4 * 3 + 3));
        match STANDARD.decode_vec(text, &mut bytes) {
            Ok(()) => Ok(bytes),
            Err(_) => Err(E::custom(
                "what should be base64 is not: use the standard alphabet with padding",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_and_wrong_text_is_not_repeated() {
        let json = serde_json::to_string(&SecretBase64(Secret::new(vec![0xff, 0, 1]))).unwrap();
        assert_eq!(json, "\"/wAB\"");
        assert_eq!(
            serde_json::from_str::<SecretBase64>(&json).ok().unwrap().0.expose(),
            [0xff, 0, 1]
        );
        assert_eq!(serde_json::from_str::<Base64>(&json).unwrap().0, [0xff, 0, 1]);
        let error = serde_json::from_str::<SecretBase64>("\"hunter2\"").err().unwrap();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
