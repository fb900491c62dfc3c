//! `/api/vaults`.

use axum::Json;
use axum::extract::{Extension, Path, State};

use super::body::{Body, InQuery, created, cursor};
use super::{Answer, Created};
use crate::identity::Caller;
use crate::surface::{Shared, perform};
use crate::vault::{CreateVault, ListVaults, ShowVault, VaultEntry};
use crate::wire::{self, Page, PageQuery};

pub(super) async fn create(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Body(asked): Body<wire::CreateVault>,
) -> Created<wire::Vault> {
    let op = CreateVault { name: asked.name };
    let vault = perform(&services, caller, |services| &services.vault, op).await?;
    Ok(created(spell(vault)))
}

pub(super) async fn list(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    InQuery(query): InQuery<PageQuery>,
) -> Answer<Page<wire::Vault>> {
    let op = ListVaults {
        after: cursor(&query)?,
        limit: query.limit(),
    };
    let page = perform(&services, caller, |services| &services.vault, op).await?;
    Ok(Json(Page {
        items: page.items.into_iter().map(spell).collect(),
        next: page.next.map(String::from),
    }))
}

pub(super) async fn show(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Answer<wire::Vault> {
    let op = ShowVault { name: name.parse()? };
    let vault = perform(&services, caller, |services| &services.vault, op).await?;
    Ok(Json(spell(vault)))
}

fn spell(vault: VaultEntry) -> wire::Vault {
    wire::Vault {
        name: vault.name,
        created: vault.created,
    }
}
