//! `/api/renewals`.

use axum::Json;
use axum::extract::{Extension, Path, State};

use super::Answer;
use super::body::InQuery;
use crate::identity::Caller;
use crate::lifecycle::{ListRenewals, ShowRenewal};
use crate::surface::{Shared, perform};
use crate::wire::{self, Page, PageQuery};

pub(super) async fn list(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    InQuery(query): InQuery<PageQuery>,
) -> Answer<Page<wire::Renewal>> {
    let op = ListRenewals(query);
    Ok(Json(
        perform(&services, caller, |services| &services.lifecycle, op).await?,
    ))
}

pub(super) async fn show(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer<wire::Renewal> {
    let op = ShowRenewal::locate(&services.lifecycle, id.parse()?).await?;
    Ok(Json(
        perform(&services, caller, |services| &services.lifecycle, op).await?,
    ))
}
