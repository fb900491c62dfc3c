//! The operations on role assignments: who may do what, where.
//!
//! What a role is, is said in [`policy`](crate::policy); where assignments are kept, in [`authz`](crate::authz).
//! SECURITY: whoever may assign roles can take any of them, so these acts are on [`Resource::Policy`], which lies in no
//! scope but everything.

use futures::FutureExt;

use crate::authz::{Authz, RoleAssignment};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::gate::{Effect, Operation, Permit};
use crate::id::Id;
use crate::policy::{Action, Assignment, Resource, Role, Scope, SpiffeId};

/// Gives a role to an identity, whether or not it is registered yet.
#[derive(Clone, Debug)]
pub struct AssignRole {
    /// Who gets it.
    pub principal: SpiffeId,
    /// Which role.
    pub role: Role,
    /// Where.
    pub scope: Scope,
    /// When it ends; `None` is when it is revoked.
    pub expires: Option<Timestamp>,
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
        let now = permit.now();
        let assignment = Assignment {
            id: Id::ordered(permit.entropy(), now.unix().saturating_mul(1000))?,
            principal: self.principal,
            role: self.role,
            scope: self.scope,
            expires: self.expires,
        };
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
            created: now,
        })
    }
}

/// Takes a role from an identity. The last administrator's stays.
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
                    tx.note("principal", assignment.principal.to_string());
                    tx.note("role", assignment.role.to_string());
                    tx.note("scope", assignment.scope.to_string());
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
    permit.note("principal", assignment.principal.to_string());
    permit.note("role", assignment.role.to_string());
    permit.note("scope", assignment.scope.to_string());
    if let Some(expires) = assignment.expires {
        permit.note("expires", expires.to_string());
    }
}
