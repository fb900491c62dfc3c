//! The operations that say why: may this caller do that, what may it do, and who may do this.

use crate::authz::{Authz, Reason};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::gate::{Effect, Operation, Permit};
use crate::id::Id;
use crate::policy::{Action, Decision, Principal, Resource, SpiffeId};

/// Says whether an identity may do something, and by what.
#[derive(Clone, Debug)]
pub struct CheckPolicy {
    /// Who.
    pub id: SpiffeId,
    /// What.
    pub action: Action,
    /// On what.
    pub resource: Resource,
    /// When; `None` is now.
    pub at: Option<Timestamp>,
}

/// A decision and the assignments that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// What was decided.
    pub decision: Decision,
    /// By what.
    pub reasons: Vec<Reason>,
}

impl Operation for CheckPolicy {
    const ACTION: Action = Action::CheckPolicy;
    const EFFECT: Effect = Effect::Read;
    type Engine = Authz;
    type Output = Checked;

    fn resource(&self) -> Resource {
        Resource::Policy
    }

    async fn run(self, authz: &Authz, permit: &Permit) -> Result<Checked> {
        let at = self.at.unwrap_or_else(|| permit.now());
        permit.note("principal", self.id.to_string());
        permit.note("asked", format!("{} {}", self.action, self.resource));
        permit.note("at", at.to_string());
        let view = authz.view().await?;
        let principal = Principal::Spiffe(self.id.clone());
        let decision = view.decide_at(&principal, self.action, &self.resource, at);
        Ok(Checked {
            reasons: view.named(&self.id, &decision),
            decision,
        })
    }
}

/// Which page of an explanation, and of which time.
#[derive(Clone, Copy, Debug)]
pub struct Excerpt {
    /// When; `None` is now.
    pub at: Option<Timestamp>,
    /// The last assignment of the page before.
    pub after: Option<Id>,
    /// How many at most.
    pub limit: u32,
}

impl Excerpt {
    fn limit(self) -> usize {
        usize::try_from(self.limit).unwrap_or(usize::MAX)
    }
}

/// Whom or what to explain.
#[derive(Clone, Debug)]
pub enum Subject {
    /// What an identity holds.
    Principal(SpiffeId),
    /// Who may do something with something.
    Resource(Action, Resource),
}

/// Says what an identity holds, or who may do something.
#[derive(Clone, Debug)]
pub struct ExplainPolicy {
    /// Whom or what.
    pub subject: Subject,
    /// Which part of it.
    pub excerpt: Excerpt,
}

impl Operation for ExplainPolicy {
    const ACTION: Action = Action::ExplainPolicy;
    const EFFECT: Effect = Effect::Read;
    type Engine = Authz;
    type Output = Vec<Reason>;

    fn resource(&self) -> Resource {
        Resource::Policy
    }

    async fn run(self, authz: &Authz, permit: &Permit) -> Result<Vec<Reason>> {
        let (part, view) = (self.excerpt, authz.view().await?);
        let at = part.at.unwrap_or_else(|| permit.now());
        permit.note("at", at.to_string());
        Ok(match &self.subject {
            Subject::Principal(id) => {
                permit.note("principal", id.to_string());
                view.held_by(id, at, part.after, part.limit())
            }
            Subject::Resource(action, resource) => {
                permit.note("asked", format!("{action} {resource}"));
                view.about(*action, resource, at, part.after, part.limit())
            }
        })
    }
}

/// Says to a caller what it holds itself; policy allows it for no other.
#[derive(Clone, Debug)]
pub struct ShowOwnRights {
    /// The caller.
    pub id: SpiffeId,
    /// Which part of it.
    pub excerpt: Excerpt,
}

impl Operation for ShowOwnRights {
    const ACTION: Action = Action::ShowOwnRights;
    const EFFECT: Effect = Effect::Read;
    type Engine = Authz;
    type Output = Vec<Reason>;

    fn resource(&self) -> Resource {
        Resource::Identity(self.id.clone())
    }

    async fn run(self, authz: &Authz, permit: &Permit) -> Result<Vec<Reason>> {
        let part = self.excerpt;
        let at = part.at.unwrap_or_else(|| permit.now());
        let view = authz.view().await?;
        Ok(view.held_by(&self.id, at, part.after, part.limit()))
    }
}
