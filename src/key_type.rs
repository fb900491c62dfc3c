//! Key types and their names on the wire, in profiles and on the command line.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What kind of key. One place to decide; the spelling tables of `hsm`, `x509` and the surfaces match it without `_`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyType {
    /// AES with 256 bits; the vault's key-encryption keys.
    #[serde(rename = "aes-256")]
    Aes256,
    /// AES with 256 bits that wraps other keys and does nothing else; the vault's wrapping key.
    #[serde(rename = "aes-wrap-256")]
    AesWrap256,
    /// ECDSA on NIST P-256; issuing keys and most leaves.
    EcP256,
    /// ECDSA on NIST P-384; issuing keys and leaves.
    EcP384,
    /// ECDSA on NIST P-521; issuing keys and leaves.
    EcP521,
    /// Ed25519; the audit key, issuing keys and leaves.
    Ed25519,
    /// RSA with 2048 bits; issuing keys and leaves.
    #[serde(rename = "rsa-2048")]
    Rsa2048,
    /// RSA with 3072 bits; issuing keys and leaves.
    #[serde(rename = "rsa-3072")]
    Rsa3072,
    /// RSA with 4096 bits; issuing keys and leaves.
    #[serde(rename = "rsa-4096")]
    Rsa4096,
    /// RSA with 2048 bits that signs by RSASSA-PSS (RFC 4055); issuing keys.
    #[serde(rename = "rsa-pss-2048")]
    RsaPss2048,
    /// RSA with 3072 bits that signs by RSASSA-PSS; issuing keys.
    #[serde(rename = "rsa-pss-3072")]
    RsaPss3072,
    /// RSA with 4096 bits that signs by RSASSA-PSS; issuing keys.
    #[serde(rename = "rsa-pss-4096")]
    RsaPss4096,
}

impl KeyType {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Aes256,
        Self::AesWrap256,
        Self::EcP256,
        Self::EcP384,
        Self::EcP521,
        Self::Ed25519,
        Self::Rsa2048,
        Self::Rsa3072,
        Self::Rsa4096,
        Self::RsaPss2048,
        Self::RsaPss3072,
        Self::RsaPss4096,
    ];

    /// Those that may be certified. How a subject signs is its own affair: its key is RSA, whatever the scheme.
    pub const SUBJECT: [Self; 7] = [
        Self::EcP256,
        Self::EcP384,
        Self::EcP521,
        Self::Ed25519,
        Self::Rsa2048,
        Self::Rsa3072,
        Self::Rsa4096,
    ];

    /// Whether it signs; else it encrypts or wraps.
    pub const fn signs(self) -> bool {
        match self {
            Self::Aes256 | Self::AesWrap256 => false,
            Self::EcP256
            | Self::EcP384
            | Self::EcP521
            | Self::Ed25519
            | Self::Rsa2048
            | Self::Rsa3072
            | Self::Rsa4096
            | Self::RsaPss2048
            | Self::RsaPss3072
            | Self::RsaPss4096 => true,
        }
    }

    /// The kind of key that it is, whatever it signs by or is used for: what a token knows of it.
    #[must_use]
    pub const fn material(self) -> Self {
        match self {
            Self::AesWrap256 => Self::Aes256,
            Self::RsaPss2048 => Self::Rsa2048,
            Self::RsaPss3072 => Self::Rsa3072,
            Self::RsaPss4096 => Self::Rsa4096,
            other => other,
        }
    }

    /// Whether it signs by RSASSA-PSS.
    pub const fn is_pss(self) -> bool {
        matches!(self, Self::RsaPss2048 | Self::RsaPss3072 | Self::RsaPss4096)
    }

    /// The name used everywhere outside the process.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aes256 => "aes-256",
            Self::AesWrap256 => "aes-wrap-256",
            Self::EcP256 => "ec-p256",
            Self::EcP384 => "ec-p384",
            Self::EcP521 => "ec-p521",
            Self::Ed25519 => "ed25519",
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa3072 => "rsa-3072",
            Self::Rsa4096 => "rsa-4096",
            Self::RsaPss2048 => "rsa-pss-2048",
            Self::RsaPss3072 => "rsa-pss-3072",
            Self::RsaPss4096 => "rsa-pss-4096",
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for KeyType {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| {
            Error::invalid(format!(
                "`{}` is not a key type: use {}",
                text.escape_debug(),
                Self::ALL.map(Self::as_str).join(", ")
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_the_same_in_text_and_in_json() {
        for kind in KeyType::ALL {
            assert_eq!(kind.as_str().parse::<KeyType>().unwrap(), kind);
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
            assert_eq!(kind.signs(), KeyType::SUBJECT.contains(&kind.material()));
            assert!(!kind.material().is_pss());
        }
    }
}
