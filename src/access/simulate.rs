//! The operation that says what a change to the roles would alter.

use super::roles::spell;
use super::{AssignRole, told};
use crate::authz::{Alterations, Authz, Change};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::gate::{Effect, Operation, Permit};
use crate::id::Id;
use crate::policy::{Action, CustomRole, Principal, Resource};

/// What somebody thinks of changing.
#[derive(Clone, Debug)]
pub enum Proposal {
    /// To give a role, or deny it.
    Assign(AssignRole),
    /// To take an assignment back.
    Revoke(Id),
    /// To replace what a role allows and denies.
    UpdateRole(CustomRole),
}

impl Proposal {
    /// The change, of which the record tells.
    fn change(self, permit: &Permit) -> Result<Change> {
        Ok(match self {
            Self::Assign(assign) => {
                let assignment = assign.assignment(permit)?;
                permit.note("asked", "assign");
                for (key, value) in told(&assignment) {
                    permit.note(key, value);
                }
                Change::Assign(assignment)
            }
            Self::Revoke(id) => {
                permit.note("asked", "revoke");
                permit.note("assignment", id.to_string());
                Change::Revoke(id)
            }
            Self::UpdateRole(role) => {
                permit.note("asked", "update role");
                permit.note("role", role.name.to_string());
                permit.note("allow", spell(&role.allow));
                permit.note("deny", spell(&role.deny));
                Change::Redefine(role)
            }
        })
    }
}

/// Says what a change would alter, and changes nothing.
#[derive(Clone, Debug)]
pub struct SimulatePolicy {
    /// The change.
    pub proposal: Proposal,
    /// When; `None` is now.
    pub at: Option<Timestamp>,
}

impl Operation for SimulatePolicy {
    const ACTION: Action = Action::CheckPolicy;
    const EFFECT: Effect = Effect::Read;
    type Engine = Authz;
    type Output = Alterations;

    fn resource(&self) -> Resource {
        Resource::Policy
    }

    async fn run(self, authz: &Authz, permit: &Permit) -> Result<Alterations> {
        let at = self.at.unwrap_or_else(|| permit.now());
        permit.note("at", at.to_string());
        let change = self.proposal.change(permit)?;
        let Principal::Spiffe(caller) = &permit.caller().principal else {
            return Err(Error::internal("a part of the service asked what a change would alter"));
        };
        authz.simulate(&change, caller.trust_domain(), at).await
    }
}
