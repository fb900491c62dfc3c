//! Why a decision is what it is.

use serde::{Deserialize, Serialize};

use super::page::PageQuery;
use super::rfc3339;
use super::role::{AssignRole, CreateRole};
use crate::clock::Timestamp;

/// Asks whether an identity may do something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckPolicy {
    /// Who: a SPIFFE ID.
    pub principal: String,
    /// What: an action's name, as in `ReadSecret`.
    pub action: String,
    /// On what: `vaults/kv-prod/secrets/db-password`.
    pub resource: String,
    /// When; now if it is left out. By the assignments that there are now.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

/// What would be decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyDecision {
    /// Whether it may be done.
    pub allow: bool,
    /// What decided, as the audit log has it; none, if nothing allows it.
    pub policies: Vec<String>,
    /// The assignments among that.
    pub reasons: Vec<PolicyReason>,
}

/// Asks what one change would alter: exactly one of `assign`, `revoke` and `update_role`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimulatePolicy {
    /// An assignment that would be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assign: Option<AssignRole>,
    /// The id of an assignment that would be taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoke: Option<String>,
    /// A role that would allow and deny this instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_role: Option<CreateRole>,
    /// When; now if it is left out.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

/// What a change would alter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyAlterations {
    /// What, by who and scope; nothing if nobody gains or loses anything.
    pub altered: Vec<PolicyAltered>,
    /// How many identities the change reaches by name.
    pub reaches: u64,
    /// How many of these were looked at: the first, by their names.
    pub judged: u64,
}

/// What somebody would gain and lose in a scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyAltered {
    /// Who: a SPIFFE ID; or a path or a group, for everybody there who is not known by name.
    pub principal: String,
    /// Where; a narrower one of the same principal says what is different there.
    pub scope: String,
    /// The actions that they could do from then on.
    pub gains: Vec<String>,
    /// The actions that they could do no more.
    pub loses: Vec<String>,
}

/// The query of an explanation: of a principal, of a resource, or of the caller itself if neither is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainQuery {
    /// As in [`PageQuery`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// As in [`PageQuery`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// What does this identity hold?
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// Who may do the action on this?
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// With a resource: the action; to read or to show it if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// When; now if it is left out. By the assignments that there are now.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

impl ExplainQuery {
    /// The page that is asked for.
    pub fn page(&self) -> PageQuery {
        PageQuery {
            cursor: self.cursor.clone(),
            limit: self.limit,
        }
    }
}

/// An assignment, and what it does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyReason {
    /// The assignment's id.
    pub assignment: String,
    /// To whom: a SPIFFE ID, all below a path, or a group.
    pub principal: String,
    /// The role.
    pub role: String,
    /// Where.
    pub scope: String,
    /// The actions that it gives, unless they are denied.
    pub allow: Vec<String>,
    /// The actions that it takes.
    pub deny: Vec<String>,
    /// From when on, if not at once.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Until when, if not for good.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// In an explanation of a resource: whom it reaches by name or group, the first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reached: Vec<ReachedIdentity>,
    /// How many it reaches so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reaches: Option<u64>,
}

/// Whom an assignment reaches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReachedIdentity {
    /// The SPIFFE ID.
    pub id: String,
    /// Whether it may do what was asked, by everything that it holds.
    pub allow: bool,
}
