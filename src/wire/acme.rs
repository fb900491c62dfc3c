//! The ACME server's accounts, and the keys of external accounts.

use serde::{Deserialize, Serialize};

use super::{SecretText, rfc3339};
use crate::clock::Timestamp;

/// Makes a key by which ACME accounts are bound to an identity (RFC 8555 §7.3.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateExternalKey {
    /// Whose the accounts are: the SPIFFE ID of a registered identity.
    pub identity: String,
    /// The only names that they may ask for: `a.test`, `*.a.test` for all below it, or a network. All if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Names that they may not ask for, whatever is allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
    /// Whether they need show nothing for names that are allowed.
    #[serde(default)]
    pub trusted: bool,
    /// The role that they have, `ACME Client` or `ACME Requester`; without it they do what any account may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Whether more than one account may be made with it.
    #[serde(default)]
    pub reusable: bool,
    /// For how many seconds accounts may be made with it; for good if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_s: Option<u64>,
}

/// A key that was just made. Its value is shown this once.
#[derive(Clone, Serialize, Deserialize)]
pub struct NewExternalKey {
    /// What clients call `kid`.
    pub kid: String,
    /// The MAC key, base64url without padding.
    pub hmac_key: SecretText,
    /// Until when accounts may be made with it.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

/// A key by which ACME accounts are bound to an identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalKey {
    /// What clients call `kid`.
    pub kid: String,
    /// Whose the accounts are.
    pub identity: String,
    /// The only names that they may ask for; all if there are none.
    pub allow: Vec<String>,
    /// Names that they may not ask for.
    pub deny: Vec<String>,
    /// Whether they need show nothing for names that are allowed.
    pub trusted: bool,
    /// The role that they have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Whether more than one account may be made with it.
    pub reusable: bool,
    /// How many accounts were made with it.
    pub used: u64,
    /// When it was made.
    #[serde(with = "rfc3339")]
    pub created: Timestamp,
    /// By whom.
    pub created_by: String,
    /// Until when accounts may be made with it.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

/// An account of the ACME server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcmeAccount {
    /// Its id; the account's URL ends in it.
    pub id: String,
    /// `valid` or `deactivated`.
    pub status: String,
    /// `mailto:` URLs.
    pub contact: Vec<String>,
    /// Whose it is, if it was made with an external account's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// That key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_key: Option<String>,
    /// The only names that it may ask for; all if there are none.
    pub allow: Vec<String>,
    /// Names that it may not ask for.
    pub deny: Vec<String>,
    /// Whether it need show nothing for names that are allowed.
    pub trusted: bool,
    /// The role that it has, if it was made for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Where the terms of service were that it agreed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<String>,
    /// The thumbprint of its key (RFC 7638), base64url.
    pub thumbprint: String,
    /// When it was made.
    #[serde(with = "rfc3339")]
    pub created: Timestamp,
}

/// Says what an account may ask for. What is left out stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateAcmeAccount {
    /// Takes the place of the names that it may ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<String>>,
    /// Takes the place of the names that it may not ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deny: Option<Vec<String>>,
    /// Whether it need show nothing for names that are allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted: Option<bool>,
    /// Its holder has agreed to the terms of service that are in force.
    #[serde(default)]
    pub terms_agreed: bool,
}
