//! Identities of callers, and how they get their certificates.

use serde::{Deserialize, Serialize};

use super::{SecretText, rfc3339};
use crate::clock::Timestamp;

/// Registers an identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateIdentity {
    /// The SPIFFE ID, for example `spiffe://chancery.test/web`.
    pub id: String,
    /// The lifetime of its certificates; the profile's default if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_s: Option<u64>,
}

/// A registered identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The SPIFFE ID.
    pub id: String,
    /// The lifetime of its certificates, if it is its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_s: Option<u64>,
    /// When it was registered.
    #[serde(with = "rfc3339")]
    pub created: Timestamp,
    /// Since when it is disabled, if it is.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub disabled: Option<Timestamp>,
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
