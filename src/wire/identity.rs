//! Identities of callers, and how they get their certificates.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{SecretText, rfc3339};
use crate::clock::Timestamp;

/// By what, beside a join token, an identity's first certificate is had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "lowercase", deny_unknown_fields)]
pub enum Way {
    /// A JWT of an OIDC issuer, for example a Kubernetes service account's or a CI job's.
    Oidc {
        /// The issuer, as `iss` has it: `https://…`.
        issuer: String,
        /// What the token must be for (`aud`).
        audience: String,
        /// What it must say: claim and value. A name that begins with `/` is a path into the claims (RFC 6901).
        claims: BTreeMap<String, String>,
        /// Roots to trust for the issuer's own TLS, PEM; the system's if it is left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ca_pem: Option<String>,
        /// The claim that says in which groups the identity is; none if it is left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        group_claim: Option<GroupClaim>,
    },
    /// A client certificate.
    X509 {
        /// The CA that it must lead to, one certificate, PEM; our own CA if it is left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ca_pem: Option<String>,
        /// The name that it must have: `dns:…`, `uri:…` (`*` stands for one whole part) or `subject:…` (RFC 4514).
        name: String,
        /// The CA's revocation lists, PEM. Once they are given, the certificate must be on record as good.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        crl_pem: Option<String>,
    },
}

/// By which claim an issuer says in which groups an identity is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupClaim {
    /// The claim: one group, or a list of them. A name that begins with `/` is a path into the claims (RFC 6901).
    pub claim: String,
    /// What is put before each, so that an issuer names no group that is not its own: `ci/`.
    pub prefix: String,
}

/// A registration entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationEntry {
    /// Its id.
    pub id: String,
    /// What must be shown.
    #[serde(flatten)]
    pub way: Way,
    /// In which groups the identity is by what was shown for this entry last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// When it was made.
    #[serde(with = "rfc3339")]
    pub created: Timestamp,
}

/// Registers an identity, or one more way to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateIdentity {
    /// The SPIFFE ID, for example `spiffe://chancery.test/web`.
    pub id: String,
    /// The lifetime of its certificates; the profile's default if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_s: Option<u64>,
    /// How long after its certificate's end it may still renew; what the server's configuration says if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_s: Option<u64>,
    /// By what it is had, beside join tokens. With it, the identity may be registered already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<Way>,
    /// The groups that it is in: it has their roles too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
}

/// Sets what can be changed of an identity. What is left out is the default again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateIdentity {
    /// The lifetime of its certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_s: Option<u64>,
    /// How long after its certificate's end it may still renew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_s: Option<u64>,
    /// The groups that it is in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
}

/// A registered identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The SPIFFE ID.
    pub id: String,
    /// The lifetime of its certificates, if it is its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_s: Option<u64>,
    /// How long after its certificate's end it may still renew, if that is its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_s: Option<u64>,
    /// When it was registered.
    #[serde(with = "rfc3339")]
    pub created: Timestamp,
    /// Since when it is disabled, if it is.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub disabled: Option<Timestamp>,
    /// The groups that it is in by its registration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// By what it is had, beside join tokens; left out in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<Vec<RegistrationEntry>>,
}

/// Disables an identity, or enables it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhichIdentity {
    /// The SPIFFE ID.
    pub id: String,
}

/// Makes a join token: a one-time credential for an identity's first certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateJoinToken {
    /// The identity's SPIFFE ID.
    pub identity: String,
    /// How long the token can be used; the server's default if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_s: Option<u64>,
}

/// A join token. It is shown once: the server keeps its digest only.
#[derive(Serialize, Deserialize)]
pub struct JoinToken {
    /// The token.
    pub token: SecretText,
    /// The identity that it is for.
    pub identity: String,
    /// Until when it can be used.
    #[serde(with = "rfc3339")]
    pub expires: Timestamp,
}

/// Trades a join token for the first certificate. Safe to repeat with the same token and the same key.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enroll {
    /// The join token.
    pub token: SecretText,
    /// A request for the new key, PKCS #10 in PEM. Its names are not looked at: the token says whose it is.
    pub csr_pem: String,
}

/// Trades a JWT for a certificate. Safe to repeat with the same token and the same key.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrollByJwt {
    /// The token.
    pub jwt: SecretText,
    /// The identity that is asked for, if there are several to be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// A request for the new key, PKCS #10 in PEM.
    pub csr_pem: String,
}

/// Trades the client certificate that the connection is made with for one of an identity. Safe to repeat with the same
/// key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrollByCertificate {
    /// The identity that is asked for, if there are several to be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// A request for the new key, PKCS #10 in PEM.
    pub csr_pem: String,
}

/// Trades the current certificate, which the connection is made with, for the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reenroll {
    /// A request for the next key, PKCS #10 in PEM.
    pub csr_pem: String,
}

/// A new certificate for the caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// The caller's SPIFFE ID.
    pub identity: String,
    /// The certificate's serial, lower-case hexadecimal.
    pub serial: String,
    /// Its validity.
    #[serde(with = "rfc3339")]
    pub not_before: Timestamp,
    /// Its validity.
    #[serde(with = "rfc3339")]
    pub not_after: Timestamp,
    /// The chain, PEM: leaf first, the root left out.
    pub chain_pem: String,
    /// The roots that the service's own certificates lead to, PEM.
    pub roots_pem: String,
}
