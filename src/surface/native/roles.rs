//! `/api/role-assignments`.

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;

use super::body::{Body, InQuery, NoBody, created, cursor, next};
use super::{Answer, Created};
use crate::access::{AssignRole, ListRoleAssignments, RevokeRoleAssignment};
use crate::authz::RoleAssignment;
use crate::identity::Caller;
use crate::policy::Verdict;
use crate::surface::frame::Failure;
use crate::surface::{Shared, perform};
use crate::wire::{self, Page, PageQuery};

pub(super) async fn assign(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Body(asked): Body<wire::AssignRole>,
) -> Created<wire::RoleAssignment> {
    let op = AssignRole {
        who: asked.principal.parse()?,
        role: asked.role.parse()?,
        scope: asked.scope.parse()?,
        verdict: match asked.deny {
            true => Verdict::Deny,
            false => Verdict::Allow,
        },
        not_before: asked.not_before,
        expires: asked.expires,
    };
    let assigned = perform(&services, caller, |services| &services.authz, op).await?;
    Ok(created(spell(assigned)))
}

pub(super) async fn list(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    InQuery(query): InQuery<PageQuery>,
) -> Answer<Page<wire::RoleAssignment>> {
    let op = ListRoleAssignments {
        after: cursor(&query)?,
        limit: query.limit(),
    };
    let assignments = perform(&services, caller, |services| &services.authz, op).await?;
    Ok(Json(Page {
        next: next(&query, &assignments, |last| last.assignment.id.to_string()),
        items: assignments.into_iter().map(spell).collect(),
    }))
}

pub(super) async fn revoke(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    _: NoBody,
) -> Result<StatusCode, Failure> {
    let op = RevokeRoleAssignment { id: id.parse()? };
    perform(&services, caller, |services| &services.authz, op).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn spell(held: RoleAssignment) -> wire::RoleAssignment {
    let assignment = held.assignment;
    wire::RoleAssignment {
        id: assignment.id.to_string(),
        principal: assignment.who.to_string(),
        role: assignment.role.to_string(),
        scope: assignment.scope.to_string(),
        deny: assignment.verdict == Verdict::Deny,
        not_before: assignment.not_before,
        expires: assignment.expires,
        created: held.created,
    }
}
