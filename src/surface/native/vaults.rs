//! `/api/vaults` and `/api/deleted-vaults`.
//!
//! A vault's `etag` is its revision, which grows with every change. Changing one takes `if-match: "<revision>"`; what does
//! not hold is a conflict.

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::body::{Body, InQuery, NoBody, cursor};
use super::conditions::{etag, expected};
use super::{Answer, tags};
use crate::error::Result;
use crate::gate::Operation;
use crate::identity::Caller;
use crate::surface::frame::Failure;
use crate::surface::{Shared, perform};
use crate::vault::{
    CreateVault, DeleteVault, ListVaults, PurgeVault, RecoverVault, ShowVault, Tags, UpdateVault, Vault, VaultEntry,
};
use crate::wire::{self, Page, PageQuery};

/// A vault, with its revision as `etag`.
type Tagged = Result<Response, Failure>;

pub(super) async fn create(
    services: State<Shared>,
    caller: Extension<Caller>,
    Body(asked): Body<wire::CreateVault>,
) -> Tagged {
    let op = CreateVault {
        name: asked.name,
        tags: Tags::new(asked.tags)?,
        retention_days: asked.retention_days,
        purge_protection: asked.purge_protection,
    };
    let made = answer(services, caller, op).await?;
    Ok((StatusCode::CREATED, made).into_response())
}

pub(super) async fn list(
    services: State<Shared>,
    caller: Extension<Caller>,
    InQuery(query): InQuery<PageQuery>,
) -> Answer<Page<wire::Vault>> {
    listed(services, caller, &query, false).await
}

pub(super) async fn list_deleted(
    services: State<Shared>,
    caller: Extension<Caller>,
    InQuery(query): InQuery<PageQuery>,
) -> Answer<Page<wire::Vault>> {
    listed(services, caller, &query, true).await
}

async fn listed(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    query: &PageQuery,
    deleted: bool,
) -> Answer<Page<wire::Vault>> {
    let op = ListVaults {
        deleted,
        after: cursor(query)?,
        limit: query.limit(),
    };
    let page = perform(&services, caller, |services| &services.vault, op).await?;
    Ok(Json(Page {
        items: page.items.into_iter().map(spell).collect(),
        next: page.next.map(String::from),
    }))
}

pub(super) async fn show(services: State<Shared>, caller: Extension<Caller>, Path(name): Path<String>) -> Tagged {
    answer(services, caller, ShowVault { name: name.parse()? }).await
}

pub(super) async fn update(
    services: State<Shared>,
    caller: Extension<Caller>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Body(asked): Body<wire::UpdateVault>,
) -> Tagged {
    let op = UpdateVault {
        name: name.parse()?,
        tags: asked.tags.map(Tags::new).transpose()?,
        retention_days: asked.retention_days,
        purge_protection: asked.purge_protection,
        expect: expected(&headers)?,
    };
    answer(services, caller, op).await
}

pub(super) async fn delete(
    services: State<Shared>,
    caller: Extension<Caller>,
    Path(name): Path<String>,
    _: NoBody,
) -> Tagged {
    answer(services, caller, DeleteVault { name: name.parse()? }).await
}

pub(super) async fn recover(
    services: State<Shared>,
    caller: Extension<Caller>,
    Path(name): Path<String>,
    _: NoBody,
) -> Tagged {
    answer(services, caller, RecoverVault { name: name.parse()? }).await
}

pub(super) async fn purge(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    _: NoBody,
) -> Result<StatusCode, Failure> {
    let op = PurgeVault { name: name.parse()? };
    perform(&services, caller, |services| &services.vault, op).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn answer<O: Operation<Engine = Vault, Output = VaultEntry> + 'static>(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    op: O,
) -> Tagged {
    let vault = perform(&services, caller, |services| &services.vault, op).await?;
    let tag = etag(vault.revision)?;
    Ok(([(header::ETAG, tag)], Json(spell(vault))).into_response())
}

fn spell(vault: VaultEntry) -> wire::Vault {
    wire::Vault {
        name: vault.name,
        created: vault.created,
        created_by: vault.created_by,
        tags: tags(&vault.tags),
        retention_days: vault.retention_days,
        purge_protection: vault.purge_protection,
        revision: vault.revision,
        deleted: vault.until.map(|until| until.deleted),
        recoverable_until: vault.until.map(|until| until.recoverable_until),
    }
}
