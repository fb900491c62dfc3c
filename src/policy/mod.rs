//! Who may do what: actions, principals, resources, roles, scopes, and the decision over them.
//!
//! Pure: values in, a decision out; it reads no clock, no store. Cedar is inside and its types never leave this room.
//! Deny by default; a forbid wins over every permit; an evaluation error is a deny.
//!
//! To add an action: a variant in [`Action`], its row in `schema.cedarschema`, and the roles in `roles.cedar` that
//! hold it; the golden `tests/golden/policy_matrix.txt` shows what changed. To add a role: a variant in [`Role`] and
//! its template in `roles.cedar`. What the service's own background parts may do stands in `builtin.cedar`; what an
//! operator adds, in files of theirs.

mod action;
mod custom;
mod engine;
mod entities;
mod file;
mod principal;
mod resource;
mod role;
mod scope;
mod who;

pub use action::Action;
pub use custom::{CustomRole, CustomRoles};
pub use engine::{Decision, Engine, Slice};
pub use file::PolicyFile;
pub use principal::{AcmeAccount, Principal, SpiffeId, TrustDomain, system};
pub use resource::{ObjectKind, Resource};
pub use role::{CustomName, Role, RoleName};
pub use scope::{Assignment, Scope, Verdict};
pub use who::{Group, SpiffePrefix, Who, group_key, keys_of};
