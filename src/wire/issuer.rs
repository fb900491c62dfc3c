//! Upstream issuers: certificate authorities that are not ours.

use serde::{Deserialize, Serialize};

use super::rfc3339;
use crate::clock::Timestamp;
use crate::id::Label;

/// Makes an upstream issuer; its account is registered on first use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateIssuer {
    /// Its name.
    pub name: Label,
    /// The ACME directory's URL (RFC 8555 §7.1.1).
    pub directory: String,
    /// Roots to trust for the directory's own TLS, PEM; the system's if they are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<String>,
    /// Contacts for the account, for example `mailto:ops@example.org`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contacts: Vec<String>,
}

/// An upstream issuer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issuer {
    /// Its name.
    pub name: Label,
    /// The ACME directory's URL.
    pub directory: String,
    /// Contacts for the account.
    #[serde(default)]
    pub contacts: Vec<String>,
    /// The account's URL, once it is registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// When it was made.
    #[serde(with = "rfc3339")]
    pub created: Timestamp,
}
