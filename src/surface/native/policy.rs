//! `/api/policy`: why a decision is what it is.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Extension, State};

use super::Answer;
use super::body::{Body, InQuery, cursor, next};
use super::roles::{assignment, custom};
use crate::access::{CheckPolicy, Excerpt, ExplainPolicy, Proposal, ShowOwnRights, SimulatePolicy, Subject};
use crate::authz::Reason;
use crate::error::Error;
use crate::identity::Caller;
use crate::policy::{Action, Principal, Resource};
use crate::surface::{Shared, perform};
use crate::wire::{self, Page};

pub(super) async fn check(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Body(asked): Body<wire::CheckPolicy>,
) -> Answer<wire::PolicyDecision> {
    let op = CheckPolicy {
        id: asked.principal.parse()?,
        action: asked.action.parse()?,
        resource: asked.resource.parse()?,
        at: asked.at,
    };
    let checked = perform(&services, caller, |services| &services.authz, op).await?;
    Ok(Json(wire::PolicyDecision {
        allow: checked.decision.allow,
        policies: checked.decision.policies,
        reasons: checked.reasons.into_iter().map(spell).collect(),
    }))
}

pub(super) async fn simulate(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Body(asked): Body<wire::SimulatePolicy>,
) -> Answer<wire::PolicyAlterations> {
    let proposal = match (&asked.assign, &asked.revoke, &asked.update_role) {
        (Some(asked), None, None) => Proposal::Assign(assignment(asked)?),
        (None, Some(id), None) => Proposal::Revoke(id.parse()?),
        (None, None, Some(role)) => Proposal::UpdateRole(custom(&role.name, &role.allow, &role.deny)?),
        _ => {
            return Err(Error::invalid(
                "one change is simulated at a time: give one of `assign`, `revoke` and `update_role`",
            )
            .into());
        }
    };
    let op = SimulatePolicy { proposal, at: asked.at };
    let found = perform(&services, caller, |services| &services.authz, op).await?;
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    Ok(Json(wire::PolicyAlterations {
        reaches: count(found.reaches),
        judged: count(found.judged),
        altered: found
            .altered
            .into_iter()
            .map(|altered| wire::PolicyAltered {
                principal: altered.who.to_string(),
                scope: altered.scope.to_string(),
                gains: names(&altered.gains),
                loses: names(&altered.loses),
            })
            .collect(),
    }))
}

pub(super) async fn explain(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    InQuery(query): InQuery<wire::ExplainQuery>,
) -> Answer<Page<wire::PolicyReason>> {
    let page = query.page();
    let excerpt = Excerpt {
        at: query.at,
        after: cursor(&page)?,
        limit: page.limit(),
    };
    if query.action.is_some() && query.resource.is_none() {
        return Err(Error::invalid("an action is explained on a resource: name it, or leave the action out").into());
    }
    let subject = match (&query.principal, &query.resource) {
        (Some(_), Some(_)) => {
            return Err(Error::invalid(
                "explain a principal or a resource; to ask about both, use `chancery policy check`",
            )
            .into());
        }
        (Some(id), None) => Some(Subject::Principal(id.parse()?)),
        (None, Some(path)) => {
            let resource: Resource = path.parse()?;
            let action = match &query.action {
                Some(action) => action.parse()?,
                None => resource.looking(),
            };
            Some(Subject::Resource(action, resource))
        }
        (None, None) => None,
    };
    let reasons = match subject {
        Some(subject) => {
            let op = ExplainPolicy { subject, excerpt };
            perform(&services, caller, |services| &services.authz, op).await?
        }
        None => {
            let Principal::Spiffe(id) = caller.principal.clone() else {
                return Err(Error::internal("a part of the service asked for its rights by the API").into());
            };
            let op = ShowOwnRights { id, excerpt };
            perform(&services, caller, |services| &services.authz, op).await?
        }
    };
    Ok(Json(Page {
        next: next(&page, &reasons, |last| last.assignment.id.to_string()),
        items: reasons.into_iter().map(spell).collect(),
    }))
}

fn spell(reason: Reason) -> wire::PolicyReason {
    let assignment = reason.assignment;
    wire::PolicyReason {
        assignment: assignment.id.to_string(),
        principal: assignment.who.to_string(),
        role: assignment.role.to_string(),
        scope: assignment.scope.to_string(),
        allow: names(&reason.allow),
        deny: names(&reason.deny),
        not_before: assignment.not_before,
        expires: assignment.expires,
        reaches: u64::try_from(reason.reaches).ok().filter(|count| *count > 0),
        reached: reason
            .reached
            .into_iter()
            .map(|(id, allow)| wire::ReachedIdentity {
                id: id.to_string(),
                allow,
            })
            .collect(),
    }
}

fn names(actions: &BTreeSet<Action>) -> Vec<String> {
    actions.iter().map(ToString::to_string).collect()
}
