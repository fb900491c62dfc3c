//! Role assignments: who may do what, where.

use serde::{Deserialize, Serialize};

use super::rfc3339;
use crate::clock::Timestamp;

/// Assigns a role, or denies it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssignRole {
    /// Who: a SPIFFE ID, all below a path (`spiffe://chancery.test/team-a/*`), or a group (`group:platform`).
    pub principal: String,
    /// What: a role's name, as in `Secrets User` or `secrets-user`.
    pub role: String,
    /// Where: `/`, `vaults/kv-prod`, `vaults/kv-prod/secrets/db-password`, or a prefix that ends in `/`.
    pub scope: String,
    /// Whether what the role allows is denied, whatever else allows it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deny: bool,
    /// From when on; at once if it is left out.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Until when; for good if it is left out.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

/// Makes a role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateRole {
    /// Its name: no built-in role's in any spelling.
    pub name: String,
    /// The actions that whoever holds it may do, by their names: `ReadSecret`.
    #[serde(default)]
    pub allow: Vec<String>,
    /// The actions that whoever holds it may not do, whatever else allows them.
    #[serde(default)]
    pub deny: Vec<String>,
}

/// Replaces what a role allows and denies. What is left out is nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateRole {
    /// The actions that whoever holds it may do.
    #[serde(default)]
    pub allow: Vec<String>,
    /// The actions that whoever holds it may not do.
    #[serde(default)]
    pub deny: Vec<String>,
}

/// A role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// Whether it comes with the service and cannot be changed.
    pub built_in: bool,
    /// The actions that whoever holds it may do, in the order of their names.
    pub allow: Vec<String>,
    /// The actions that whoever holds it may not do.
    pub deny: Vec<String>,
    /// When it was made; left out of a built-in one.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// When it was changed last.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub updated: Option<Timestamp>,
}

/// A role that is assigned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleAssignment {
    /// Its id, 32 hexadecimal digits.
    pub id: String,
    /// Who: a SPIFFE ID, all below a path (`spiffe://chancery.test/team-a/*`), or a group (`group:platform`).
    pub principal: String,
    /// What: the role's name in full.
    pub role: String,
    /// Where.
    pub scope: String,
    /// Whether what the role allows is denied.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deny: bool,
    /// From when on, if not at once.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Until when, if not for good.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// When it was assigned.
    #[serde(with = "rfc3339")]
    pub created: Timestamp,
}
