//! Our own certificate authorities and what they issued.

use serde::{Deserialize, Serialize};

use super::{RevocationReason, rfc3339};
use crate::clock::Timestamp;
use crate::id::Label;

/// A certificate authority of ours. All but its name is empty while its first certificate is awaited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// Its name.
    pub name: Label,
    /// Its certificate's subject, RFC 4514.
    pub subject: String,
    /// The kind of its key: that of an issuing CA is in the token, that of a root may be elsewhere.
    pub key_type: String,
    /// Its certificate's serial, lower-case hexadecimal.
    pub serial: String,
    /// Its certificate's validity.
    #[serde(with = "rfc3339::option", default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Its certificate's validity.
    #[serde(with = "rfc3339::option", default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
    /// The authority that signed it; none for a root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Label>,
    /// The profiles that it issues by; none for a root.
    #[serde(default)]
    pub profiles: Vec<Label>,
    /// Its own certificate, PEM.
    pub certificate_pem: String,
}

/// Asks an authority for a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issue {
    /// The profile to issue by.
    pub profile: Label,
    /// The request, PKCS #10 (RFC 2986) in PEM (RFC 7468). Only its key and the names that the profile allows are used.
    pub csr_pem: String,
    /// The lifetime; the profile's default if it is left out, and never more than its most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_s: Option<u64>,
}

/// A certificate that was just issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    /// Its serial, lower-case hexadecimal.
    pub serial: String,
    /// Its validity.
    #[serde(with = "rfc3339")]
    pub not_before: Timestamp,
    /// Its validity.
    #[serde(with = "rfc3339")]
    pub not_after: Timestamp,
    /// The chain, PEM: leaf first, the root left out.
    pub chain_pem: String,
}

/// A certificate as it is stored, with what the store says of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredCertificate {
    /// Its serial, lower-case hexadecimal.
    pub serial: String,
    /// The label of its issuer's key.
    pub issuer: String,
    /// Its alternative names.
    pub names: Vec<String>,
    /// The profile that it was issued by.
    pub profile: Label,
    /// SHA-256 of its public key, hexadecimal.
    pub spki_sha256: String,
    /// The certificate, PEM.
    pub certificate_pem: String,
}

/// A certificate that an authority issued or was about to issue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedCertificate {
    /// Its serial, lower-case hexadecimal.
    pub serial: String,
    /// Its subject, RFC 4514; may be empty.
    pub subject: String,
    /// Its alternative names, for example `dns:www.example.org` or `uri:spiffe://example.org/web`.
    pub names: Vec<String>,
    /// The label of its issuer's key.
    #[serde(default)]
    pub issuer: String,
    /// The profile that it was issued by.
    pub profile: Label,
    /// Who asked for it.
    #[serde(default)]
    pub owner: String,
    /// SHA-256 of its key's DER `SubjectPublicKeyInfo`, lower-case hexadecimal.
    #[serde(default)]
    pub spki_sha256: String,
    /// A [`CertificateStatus`](super::CertificateStatus).
    pub state: String,
    /// Its validity.
    #[serde(with = "rfc3339")]
    pub not_before: Timestamp,
    /// Its validity.
    #[serde(with = "rfc3339")]
    pub not_after: Timestamp,
    /// When it was revoked, if it was.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Timestamp>,
    /// Why, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<RevocationReason>,
}
