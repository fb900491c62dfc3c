//! `/api/role-assignments` and `/api/roles`.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;

use super::body::{Body, InQuery, NoBody, created, cursor, next};
use super::{Answer, Created};
use crate::access::{
    AssignRole, CreateRole, Definition, DeleteRole, ListRoleAssignments, ListRoles, RevokeRoleAssignment, ShowRole,
    UpdateRole,
};
use crate::authz::RoleAssignment;
use crate::error::Result;
use crate::identity::Caller;
use crate::policy::{Action, CustomRole, RoleName, Verdict};
use crate::surface::frame::Failure;
use crate::surface::{Shared, perform};
use crate::wire::{self, Page, PageQuery};

pub(super) async fn assign(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Body(asked): Body<wire::AssignRole>,
) -> Created<wire::RoleAssignment> {
    let op = assignment(&asked)?;
    let assigned = perform(&services, caller, |services| &services.authz, op).await?;
    Ok(created(spell(assigned)))
}

pub(super) fn assignment(asked: &wire::AssignRole) -> Result<AssignRole> {
    Ok(AssignRole {
        who: asked.principal.parse()?,
        role: asked.role.parse()?,
        scope: asked.scope.parse()?,
        verdict: match asked.deny {
            true => Verdict::Deny,
            false => Verdict::Allow,
        },
        not_before: asked.not_before,
        expires: asked.expires,
    })
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
) -> std::result::Result<StatusCode, Failure> {
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

pub(super) async fn create(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Body(asked): Body<wire::CreateRole>,
) -> Created<wire::Role> {
    let op = CreateRole(custom(&asked.name, &asked.allow, &asked.deny)?);
    let made = perform(&services, caller, |services| &services.authz, op).await?;
    Ok(created(spell_role(made)))
}

pub(super) async fn update(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Body(asked): Body<wire::UpdateRole>,
) -> Answer<wire::Role> {
    let op = UpdateRole(custom(&name, &asked.allow, &asked.deny)?);
    let changed = perform(&services, caller, |services| &services.authz, op).await?;
    Ok(Json(spell_role(changed)))
}

pub(super) async fn show(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Answer<wire::Role> {
    let op = ShowRole { name: name.parse()? };
    let role = perform(&services, caller, |services| &services.authz, op).await?;
    Ok(Json(spell_role(role)))
}

pub(super) async fn definitions(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    InQuery(query): InQuery<PageQuery>,
) -> Answer<Page<wire::Role>> {
    let op = ListRoles {
        after: cursor::<RoleName>(&query)?.map(|name| name.to_string()),
        limit: query.limit(),
    };
    let roles = perform(&services, caller, |services| &services.authz, op).await?;
    Ok(Json(Page {
        next: next(&query, &roles, |last| last.name.to_string()),
        items: roles.into_iter().map(spell_role).collect(),
    }))
}

pub(super) async fn delete(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    _: NoBody,
) -> std::result::Result<StatusCode, Failure> {
    let op = DeleteRole { name: name.parse()? };
    perform(&services, caller, |services| &services.authz, op).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) fn custom(name: &str, allow: &[String], deny: &[String]) -> Result<CustomRole> {
    let actions = |names: &[String]| {
        names
            .iter()
            .map(|name| name.parse())
            .collect::<Result<BTreeSet<Action>>>()
    };
    Ok(CustomRole {
        name: name.parse()?,
        allow: actions(allow)?,
        deny: actions(deny)?,
    })
}

fn spell_role(role: Definition) -> wire::Role {
    let names = |actions: &BTreeSet<Action>| actions.iter().map(ToString::to_string).collect();
    wire::Role {
        built_in: matches!(role.name, RoleName::BuiltIn(_)),
        name: role.name.to_string(),
        allow: names(&role.allow),
        deny: names(&role.deny),
        created: role.created,
        updated: role.updated,
    }
}
