//! `/api/issuers`: upstream issuers.

use axum::Json;
use axum::extract::{Extension, Path, State};

use super::body::{Body, InQuery, created};
use super::{Answer, Created};
use crate::identity::Caller;
use crate::surface::{Shared, perform};
use crate::upstream::{CreateIssuer, ListIssuers, ShowIssuer};
use crate::wire::{self, Page, PageQuery};

pub(super) async fn create(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Body(asked): Body<wire::CreateIssuer>,
) -> Created<wire::Issuer> {
    let issuer = perform(&services, caller, |services| &services.upstream, CreateIssuer(asked)).await?;
    Ok(created(issuer))
}

pub(super) async fn list(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    InQuery(query): InQuery<PageQuery>,
) -> Answer<Page<wire::Issuer>> {
    Ok(Json(
        perform(&services, caller, |services| &services.upstream, ListIssuers(query)).await?,
    ))
}

pub(super) async fn show(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Answer<wire::Issuer> {
    let op = ShowIssuer { name: name.parse()? };
    Ok(Json(
        perform(&services, caller, |services| &services.upstream, op).await?,
    ))
}
