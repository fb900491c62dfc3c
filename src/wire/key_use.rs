//! Uses of keys. Bytes are base64; what must not be shown has no `Debug`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::base64::{Base64, SecretBase64};
use crate::id::ObjectName;

/// By which version of which key, and how. Part of every answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedKey {
    /// The key's name.
    pub name: ObjectName,
    /// The version's id.
    pub version: String,
    /// The version's place in the history.
    pub ordinal: u64,
    /// The algorithm.
    pub algorithm: String,
}

/// Encrypts at most 64 KiB.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encrypt {
    /// What is encrypted.
    pub plaintext: SecretBase64,
    /// `ENVELOPE` (AES, the default), `AES-GCM`, `AES-CBC`, `AES-CTR`, `RSA-OAEP-256` (RSA, the default), `RSA-OAEP`,
    /// `RSA-OAEP-384` or `RSA-OAEP-512`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// A version, by ordinal or id; the current one if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Authenticated, not encrypted; for `ENVELOPE` and `AES-GCM`.
    #[serde(default, skip_serializing_if = "Base64::is_empty")]
    pub aad: Base64,
    /// The encryption context: authenticated, not encrypted, the order is nothing; for `ENVELOPE`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub context: BTreeMap<String, String>,
}

/// What was encrypted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encrypted {
    /// By what.
    #[serde(flatten)]
    pub by: UsedKey,
    /// The ciphertext.
    pub ciphertext: Base64,
    /// The nonce of `AES-GCM`, the initialization vector of `AES-CBC` and `AES-CTR`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iv: Option<Base64>,
    /// The tag of `AES-GCM`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Base64>,
}

/// Decrypts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decrypt {
    /// The ciphertext.
    pub ciphertext: Base64,
    /// As in [`Encrypted`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iv: Option<Base64>,
    /// As in [`Encrypted`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Base64>,
    /// As in [`Encrypt`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// As in [`Encrypt`]; an envelope says it itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// As in [`Encrypt`].
    #[serde(default, skip_serializing_if = "Base64::is_empty")]
    pub aad: Base64,
    /// As in [`Encrypt`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub context: BTreeMap<String, String>,
}

/// What was decrypted.
#[derive(Serialize, Deserialize)]
pub struct Decrypted {
    /// By what.
    #[serde(flatten)]
    pub by: UsedKey,
    /// The plaintext.
    pub plaintext: SecretBase64,
}

/// Decrypts, and encrypts again with a current version, without showing the plaintext.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reencrypt {
    /// As in [`Decrypt`].
    pub ciphertext: Base64,
    /// As in [`Decrypt`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iv: Option<Base64>,
    /// As in [`Decrypt`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Base64>,
    /// As in [`Decrypt`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// As in [`Decrypt`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// As in [`Decrypt`].
    #[serde(default, skip_serializing_if = "Base64::is_empty")]
    pub aad: Base64,
    /// As in [`Decrypt`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub context: BTreeMap<String, String>,
    /// The key of the same vault that encrypts; the same one if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<ObjectName>,
    /// How it encrypts; as in [`Encrypt`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_algorithm: Option<String>,
    /// What is authenticated from now on; `aad` if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_aad: Option<Base64>,
    /// What is authenticated from now on; `context` if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_context: Option<BTreeMap<String, String>>,
}

/// Makes a data key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateDataKey {
    /// Its length, 1 to 1024; 32 if it is left out.
    #[serde(default = "aes_256")]
    pub bytes: usize,
    /// Whether the answer has it in the clear, too.
    #[serde(default = "yes")]
    pub plaintext: bool,
    /// As in [`Encrypt`].
    #[serde(default, skip_serializing_if = "Base64::is_empty")]
    pub aad: Base64,
    /// As in [`Encrypt`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub context: BTreeMap<String, String>,
}

const fn aes_256() -> usize {
    32
}

const fn yes() -> bool {
    true
}

/// A data key. [`Decrypt`] gives it back.
#[derive(Serialize, Deserialize)]
pub struct DataKey {
    /// By what it was encrypted.
    #[serde(flatten)]
    pub by: UsedKey,
    /// It, encrypted.
    pub ciphertext: Base64,
    /// It, in the clear, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plaintext: Option<SecretBase64>,
}

/// Wraps another key.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wrap {
    /// The key's bytes, at most 8 KiB.
    pub key: SecretBase64,
    /// `AES-KWP` (AES, the default), `AES-KW`, `RSA-OAEP-256` (RSA, the default), `RSA-OAEP`, `RSA-OAEP-384` or
    /// `RSA-OAEP-512`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// As in [`Encrypt`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// A wrapped key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wrapped {
    /// By what.
    #[serde(flatten)]
    pub by: UsedKey,
    /// The wrapped key.
    pub wrapped: Base64,
}

/// Unwraps another key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unwrap {
    /// The wrapped key.
    pub wrapped: Base64,
    /// As in [`Wrap`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// As in [`Encrypt`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// An unwrapped key.
#[derive(Serialize, Deserialize)]
pub struct Unwrapped {
    /// By what.
    #[serde(flatten)]
    pub by: UsedKey,
    /// The key's bytes.
    pub key: SecretBase64,
}

/// Signs a message of at most 64 KiB, or a digest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sign {
    /// The message; either this or the digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Base64>,
    /// Its digest, by the algorithm's hash function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Base64>,
    /// As in RFC 7518 §3.1: `ES256`, `PS256`, `EdDSA`, `HS256` and so on; the type's own, for RSA `PS256`, if it is left
    /// out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// How an ECDSA signature is written: `jose` (r and s, the default) or `der`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// As in [`Encrypt`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// A signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// By what.
    #[serde(flatten)]
    pub by: UsedKey,
    /// The signature.
    pub signature: Base64,
}

/// Verifies a signature.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifySignature {
    /// The signature.
    pub signature: Base64,
    /// As in [`Sign`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Base64>,
    /// As in [`Sign`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Base64>,
    /// As in [`Sign`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// As in [`Sign`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// As in [`Encrypt`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// Whether a signature is good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// By what.
    #[serde(flatten)]
    pub by: UsedKey,
    /// Whether it is.
    pub valid: bool,
}

/// Agrees on a secret with the holder of another key of the same curve (ECDH).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeriveSecret {
    /// The other one's public key: SubjectPublicKeyInfo in PEM or DER, or a JWK.
    pub peer: Base64,
    /// As in [`Encrypt`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// A secret that two have in common.
#[derive(Serialize, Deserialize)]
pub struct SharedSecret {
    /// By what; the algorithm is `ECDH`.
    #[serde(flatten)]
    pub by: UsedKey,
    /// It, as long as the curve's numbers. Derive keys from it by a key derivation function; it is none itself.
    pub secret: SecretBase64,
}

/// Draws random bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadRandom {
    /// How many, 1 to 65536.
    pub bytes: usize,
}

/// Random bytes.
#[derive(Serialize, Deserialize)]
pub struct Random {
    /// The bytes.
    pub random: SecretBase64,
}
