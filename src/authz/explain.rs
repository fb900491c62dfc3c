//! Why a decision is what it is: what somebody holds, and who holds something.
//!
//! Nothing here decides anything for a request. It asks the same engine over the same assignments, at any time.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::View;
use crate::clock::Timestamp;
use crate::id::Id;
use crate::policy::{Action, Assignment, Decision, Principal, Resource, RoleName, SpiffeId, Verdict, Who};

/// How many identities of a group are named for one assignment.
const MOST_NAMED: usize = 100;

/// An assignment, and what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The assignment.
    pub assignment: Assignment,
    /// The actions that it gives, before denials.
    pub allow: BTreeSet<Action>,
    /// The actions that it takes.
    pub deny: BTreeSet<Action>,
    /// Whom it reaches by name, and whether each may do what was asked in the end; none, if nothing was asked.
    pub reached: Vec<(SpiffeId, bool)>,
    /// How many it reaches by name; those in `reached` are the first of them.
    pub reaches: usize,
}

impl View {
    /// Whether `principal` may do `action` on `resource` at a time, by the assignments that there are now.
    pub fn decide_at(&self, principal: &Principal, action: Action, resource: &Resource, at: Timestamp) -> Decision {
        let held = self.index.held(principal);
        let chosen = held.choose(resource);
        let assignments = chosen.assignments.iter().map(|one| &**one);
        let (engine, roles) = (&self.authz.engine, &self.index.roles);
        match engine.slice(principal, &held.groups(), assignments, roles, at) {
            Ok(slice) => engine.decide(&slice, action, resource),
            Err(e) => {
                tracing::error!(%principal, "the roles of `{principal}` do not hold together: {}", e.detail());
                Decision::failed()
            }
        }
    }

    /// The assignments that a decision about an identity names.
    pub fn named(&self, id: &SpiffeId, decision: &Decision) -> Vec<Reason> {
        let held = self.index.held(&Principal::Spiffe(id.clone()));
        let is_named = |one: &&Arc<Assignment>| {
            let name = one.to_string();
            let denies = format!("deny:{name}");
            decision
                .policies
                .iter()
                .any(|policy| *policy == name || *policy == denies)
        };
        self.sorted(held.all().filter(is_named))
    }

    /// What an identity holds at a time, by name, by path and by group; those after `after`, in the order of their ids.
    pub fn held_by(&self, id: &SpiffeId, at: Timestamp, after: Option<Id>, limit: usize) -> Vec<Reason> {
        let held = self.index.held(&Principal::Spiffe(id.clone()));
        let holding = held
            .all()
            .filter(|one| one.holds(at) && after.is_none_or(|after| one.id > after));
        let mut reasons = self.sorted(holding);
        reasons.truncate(limit);
        reasons
    }

    /// The assignments by which somebody may do `action` on `resource` at a time, or may not; those after `after`, in
    /// the order of their ids.
    pub fn about(
        &self,
        action: Action,
        resource: &Resource,
        at: Timestamp,
        after: Option<Id>,
        limit: usize,
    ) -> Vec<Reason> {
        let around = self.index.around(resource);
        let holding = around
            .iter()
            .filter(|one| one.holds(at) && after.is_none_or(|after| one.id > after));
        let mut reasons = self.sorted(holding);
        reasons.retain(|reason| reason.allow.contains(&action) || reason.deny.contains(&action));
        reasons.truncate(limit);
        for reason in &mut reasons {
            let reached = match &reason.assignment.who {
                Who::Group(group) => self.index.members(group),
                Who::Identity(id) => vec![id.clone()],
                Who::Prefix(_) => Vec::new(),
            };
            reason.reaches = reached.len();
            let first = reached.into_iter().take(MOST_NAMED);
            reason.reached = first
                .map(|id| {
                    let principal = Principal::Spiffe(id.clone());
                    let allow = self.decide_at(&principal, action, resource, at).allow;
                    (id, allow)
                })
                .collect();
        }
        reasons
    }

    fn sorted<'a>(&self, assignments: impl Iterator<Item = &'a Arc<Assignment>>) -> Vec<Reason> {
        let mut reasons: Vec<Reason> = assignments.map(|one| self.reason(one)).collect();
        reasons.sort_by_key(|reason| reason.assignment.id);
        reasons
    }

    fn reason(&self, assignment: &Assignment) -> Reason {
        let (gives, takes) = match &assignment.role {
            RoleName::BuiltIn(role) => (self.authz.engine.acts_of(*role), BTreeSet::new()),
            RoleName::Custom(name) => self
                .index
                .roles
                .get(name)
                .map_or_else(Default::default, |role| (role.allow.clone(), role.deny.clone())),
        };
        let (allow, deny) = match assignment.verdict {
            Verdict::Allow => (gives, takes),
            Verdict::Deny => (BTreeSet::new(), gives),
        };
        Reason {
            assignment: assignment.clone(),
            allow,
            deny,
            reached: Vec::new(),
            reaches: 0,
        }
    }
}
