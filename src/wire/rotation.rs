//! A new root or issuing CA takes the place of the old one.

use serde::{Deserialize, Serialize};

use super::rfc3339;
use crate::clock::Timestamp;
use crate::id::Label;
use crate::key_type::KeyType;

/// Begins a rotation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rotate {
    /// A new root, and then a new issuing CA below it; otherwise a new issuing CA only.
    pub root: bool,
    /// The kind of the new key; that of the declaration if it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_type: Option<KeyType>,
}

/// Makes an authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitAuthority {
    /// Its name.
    pub name: Label,
    /// Where its root is: `token`, `offline` or `foreign`.
    pub root: String,
    /// The kind of its keys; that of the declaration if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_type: Option<KeyType>,
}

/// A request for an issuing CA's certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateRequest {
    /// PKCS #10 (RFC 2986), PEM.
    pub csr_pem: String,
}

/// The certificate that was asked for, and what stands above it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportChain {
    /// PEM, ours first, the root last.
    pub chain_pem: String,
}

/// The revocation list of a root whose key is elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportList {
    /// PEM.
    pub crl_pem: String,
}

/// What such a list does here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedList {
    /// The labels of the issuing CAs that it revokes. If one that signs, or is about to, is among
    /// them, issuing is stopped.
    pub revokes: Vec<String>,
}

/// Takes an issuing CA out of the trust bundle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retire {
    /// Although certificates of it are valid yet: it is revoked then.
    pub force: bool,
}

/// How far the issuers of an authority are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// Roots first, oldest first.
    pub issuers: Vec<RotatingIssuer>,
}

/// How far an issuer is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotatingIssuer {
    /// The label of its key.
    pub label: String,
    /// `root` or `issuing`.
    pub role: String,
    /// Which of its role it is.
    pub number: u32,
    /// `requested`, `prepared`, `published`, `active`, `replaced`, `tainted` or `retired`.
    pub stage: String,
    /// Since when, if that is known.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// What comes next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Not before when.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub next_at: Option<Timestamp>,
    /// Valid certificates of it, if it does not sign any more: of those that end last, a hundred at most.
    #[serde(default)]
    pub left: Vec<OldCertificate>,
}

/// A certificate that somebody has of an issuer that does not sign any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldCertificate {
    /// Its serial, lower-case hexadecimal.
    pub serial: String,
    /// Its alternative names.
    pub names: Vec<String>,
    /// Who asked for it.
    pub requested_by: String,
    /// Its end.
    #[serde(with = "rfc3339")]
    pub not_after: Timestamp,
}
