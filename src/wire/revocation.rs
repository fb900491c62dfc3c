//! Revocation requests and their reasons.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Revokes a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoke {
    /// Why; `unspecified` if it is left out.
    #[serde(default)]
    pub reason: RevocationReason,
}

/// Revokes what is not named by its serial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RevokeShown {
    /// A certificate, also one that the service has lost.
    Certificate {
        /// PEM.
        certificate_pem: String,
        /// Why; `unspecified` if it is left out.
        #[serde(default)]
        reason: RevocationReason,
    },
    /// All certificates of a key, as compromised.
    Key {
        /// SHA-256 of the DER `SubjectPublicKeyInfo`, hexadecimal.
        spki_sha256: String,
    },
}

/// Proves that a key is compromised, by whoever holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompromisedKey {
    /// A request (RFC 2986) in PEM, signed by the key, whose common name is `this key is compromised`.
    pub csr_pem: String,
}

/// What was revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedSerials {
    /// Lower-case hexadecimal.
    pub serials: Vec<String>,
}

/// Why a certificate is revoked (RFC 5280 §5.3.1; the reasons that fit an end entity's certificate).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RevocationReason {
    /// Its subject's name or other data changed.
    AffiliationChanged,
    /// It is no longer needed.
    CessationOfOperation,
    /// Its private key is or may be known to others.
    KeyCompromise,
    /// It was replaced.
    Superseded,
    /// None is given.
    #[default]
    Unspecified,
}

impl RevocationReason {
    /// All of them, by name.
    pub const ALL: [Self; 5] = [
        Self::AffiliationChanged,
        Self::CessationOfOperation,
        Self::KeyCompromise,
        Self::Superseded,
        Self::Unspecified,
    ];

    /// Its name on the wire and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AffiliationChanged => "affiliation-changed",
            Self::CessationOfOperation => "cessation-of-operation",
            Self::KeyCompromise => "key-compromise",
            Self::Superseded => "superseded",
            Self::Unspecified => "unspecified",
        }
    }

    /// The number of RFC 5280's `CRLReason`.
    pub const fn code(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
        }
    }
}

impl fmt::Display for RevocationReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RevocationReason {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|reason| reason.as_str() == text)
            .ok_or_else(|| {
                Error::invalid(format!(
                    "`{}` is not a reason: use {}",
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
        for reason in RevocationReason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
            assert_eq!(reason.as_str().parse::<RevocationReason>().unwrap(), reason);
        }
        assert!("removeFromCRL".parse::<RevocationReason>().is_err());
    }
}
