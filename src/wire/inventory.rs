//! What a list of issued certificates is narrowed by.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::page::PageQuery;
use super::rfc3339;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::Label;

/// The query of a list of issued certificates: what all that are listed have in common. Newest first; soonest to end
/// first where only the end narrows the list; by name where only what a name ends in does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuedQuery {
    /// As in [`PageQuery`]; good for the same filters only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// As in [`PageQuery`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// A host name, an address or a URI; `*.example.org` for all host names below `example.org`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Hexadecimal, with or without colons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// SHA-256 of the key's DER `SubjectPublicKeyInfo`, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spki_sha256: Option<String>,
    /// The label of the issuer's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Label>,
    /// Who asked for it, as lists show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<CertificateStatus>,
    /// It ends then or later.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub expires_after: Option<Timestamp>,
    /// It ends then or before.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub expires_before: Option<Timestamp>,
    /// It ends from now on and within this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_within_s: Option<u64>,
}

impl IssuedQuery {
    /// As [`PageQuery::limit`].
    pub fn limit(&self) -> u32 {
        let page = PageQuery {
            limit: self.limit,
            cursor: None,
        };
        page.limit()
    }
}

/// What became of a certificate: one of these at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CertificateStatus {
    /// Signed, not revoked, and past its end.
    Expired,
    /// Signed, not revoked, not past its end.
    Issued,
    /// A crash or a failure came between: it may have been signed, and was not handed out.
    Reserved,
    /// Revoked, past its end or not.
    Revoked,
}

impl CertificateStatus {
    const ALL: [Self; 4] = [Self::Expired, Self::Issued, Self::Reserved, Self::Revoked];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Issued => "issued",
            Self::Reserved => "reserved",
            Self::Revoked => "revoked",
        }
    }
}

impl fmt::Display for CertificateStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for CertificateStatus {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| {
                Error::invalid(format!(
                    "`{}` is no status: use issued, expired, revoked or reserved",
                    text.escape_debug()
                ))
            })
    }
}
