//! The operations on roles and their assignments: who may do what, where, and why.
//!
//! What a role is, is said in [`policy`](crate::policy); where assignments are kept, in [`authz`](crate::authz).
//! SECURITY: whoever may assign roles can take any of them, so these acts are on [`Resource::Policy`], which lies in no
//! scope but everything.

mod explain;
mod roles;
mod simulate;

use futures::FutureExt;

pub use self::explain::{CheckPolicy, Checked, Excerpt, ExplainPolicy, ShowOwnRights, Subject};
pub use self::roles::{CreateRole, Definition, DeleteRole, ListRoles, ShowRole, UpdateRole};
pub use self::simulate::{Proposal, SimulatePolicy};

use crate::authz::{Authz, RoleAssignment};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::gate::{Effect, Operation, Permit};
use crate::id::Id;
use crate::policy::{Action, Assignment, Resource, RoleName, Scope, Verdict, Who};

/// Gives a role to an identity, to all below a path or to a group, whether or not any is registered yet; or denies it.
#[derive(Clone, Debug)]
pub struct AssignRole {
    /// Who gets it.
    pub who: Who,
    /// Which role.
    pub role: RoleName,
    /// Where.
    pub scope: Scope,
    /// Whether it is given or denied.
    pub verdict: Verdict,
    /// When it begins; `None` is at once.
    pub not_before: Option<Timestamp>,
    /// When it ends; `None` is when it is revoked.
    pub expires: Option<Timestamp>,
}

impl AssignRole {
    /// A role that is held at once and until it is revoked.
    pub fn lasting(who: impl Into<Who>, role: impl Into<RoleName>, scope: Scope) -> Self {
        Self {
            who: who.into(),
            role: role.into(),
            scope,
            verdict: Verdict::Allow,
            not_before: None,
            expires: None,
        }
    }
}

impl AssignRole {
    /// The assignment that this makes.
    fn assignment(self, permit: &Permit) -> Result<Assignment> {
        let now = permit.now();
        Ok(Assignment {
            id: Id::ordered(permit.entropy(), now.unix().saturating_mul(1000))?,
            who: self.who,
            role: self.role,
            scope: self.scope,
            verdict: self.verdict,
            not_before: self.not_before,
            expires: self.expires,
        })
    }
}

impl Operation for AssignRole {
    const ACTION: Action = Action::AssignRole;
    const EFFECT: Effect = Effect::Change;
    type Engine = Authz;
    type Output = RoleAssignment;

    fn resource(&self) -> Resource {
        Resource::Policy
    }

    async fn run(self, authz: &Authz, permit: &Permit) -> Result<RoleAssignment> {
        let assignment = self.assignment(permit)?;
        describe(permit, &assignment);
        let grant = authz.grant(assignment.clone())?;
        let authz = authz.clone();
        permit
            .commit(move |tx| {
                let (authz, grant) = (authz.clone(), grant.clone());
                async move { authz.assign(tx, &grant).await }.boxed()
            })
            .await?;
        Ok(RoleAssignment {
            assignment,
            created: permit.now(),
        })
    }
}

/// Takes an assignment back. The last administrator's stays.
#[derive(Clone, Debug)]
pub struct RevokeRoleAssignment {
    /// The assignment's id.
    pub id: Id,
}

impl Operation for RevokeRoleAssignment {
    const ACTION: Action = Action::RevokeRoleAssignment;
    const EFFECT: Effect = Effect::Change;
    type Engine = Authz;
    type Output = Assignment;

    fn resource(&self) -> Resource {
        Resource::Policy
    }

    async fn run(self, authz: &Authz, permit: &Permit) -> Result<Assignment> {
        permit.note("assignment", self.id.to_string());
        let (authz, id) = (authz.clone(), self.id);
        permit
            .commit(move |tx| {
                let authz = authz.clone();
                async move {
                    let assignment = authz.revoke(tx, id).await?;
                    for (key, value) in told(&assignment) {
                        tx.note(key, value);
                    }
                    Ok(assignment)
                }
                .boxed()
            })
            .await
    }
}

/// Lists role assignments in the order of their making.
#[derive(Clone, Debug)]
pub struct ListRoleAssignments {
    /// The last one of the page before.
    pub after: Option<Id>,
    /// How many at most.
    pub limit: u32,
}

impl Operation for ListRoleAssignments {
    const ACTION: Action = Action::ListRoleAssignments;
    const EFFECT: Effect = Effect::Read;
    type Engine = Authz;
    type Output = Vec<RoleAssignment>;

    fn resource(&self) -> Resource {
        Resource::Policy
    }

    async fn run(self, authz: &Authz, _: &Permit) -> Result<Vec<RoleAssignment>> {
        authz.list(self.after, self.limit).await
    }
}

fn describe(permit: &Permit, assignment: &Assignment) {
    permit.note("assignment", assignment.id.to_string());
    for (key, value) in told(assignment) {
        permit.note(key, value);
    }
}

/// What the record says of an assignment.
fn told(assignment: &Assignment) -> Vec<(&'static str, String)> {
    let mut told = vec![
        ("principal", assignment.who.to_string()),
        ("role", assignment.role.to_string()),
        ("scope", assignment.scope.to_string()),
    ];
    if assignment.verdict == Verdict::Deny {
        told.push(("deny", "yes".to_owned()));
    }
    let times = [("not_before", assignment.not_before), ("expires", assignment.expires)];
    told.extend(times.into_iter().filter_map(|(key, at)| Some((key, at?.to_string()))));
    told
}
