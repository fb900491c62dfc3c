//! `/api/issuing-stops` and `/api/blocked-keys`: what is refused although a profile would allow it.

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;

use super::body::{Body, InQuery, created, next};
use super::{Answer, Created};
use crate::ca::{BlockKey, BlockedKey, ListBlockedKeys, ListStops, ResumeIssuing, Stop, StopIssuing};
use crate::identity::Caller;
use crate::surface::frame::Failure;
use crate::surface::{Shared, perform};
use crate::wire::{self, Page, PageQuery};

pub(super) async fn stops(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Answer<Page<wire::IssuingStop>> {
    let stops = perform(&services, caller, |services| &services.authority, ListStops).await?;
    Ok(Json(Page {
        items: stops.into_iter().map(spell).collect(),
        next: None,
    }))
}

pub(super) async fn stop(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Body(asked): Body<wire::StopIssuing>,
) -> Created<wire::IssuingStop> {
    let op = StopIssuing {
        authority: asked.authority,
        profile: asked.profile,
        reason: asked.reason,
    };
    let stop = perform(&services, caller, |services| &services.authority, op).await?;
    Ok(created(spell(stop)))
}

pub(super) async fn resume(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Body(asked): Body<wire::ResumeIssuing>,
) -> Result<StatusCode, Failure> {
    let op = ResumeIssuing {
        authority: asked.authority,
        profile: asked.profile,
    };
    perform(&services, caller, |services| &services.authority, op).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn blocked(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    InQuery(query): InQuery<PageQuery>,
) -> Answer<Page<wire::BlockedKey>> {
    let op = ListBlockedKeys {
        after: query.cursor.clone(),
        limit: query.limit(),
    };
    let keys = perform(&services, caller, |services| &services.authority, op).await?;
    Ok(Json(Page {
        next: next(&query, &keys, |last| last.spki_sha256.clone()),
        items: keys.into_iter().map(spell_key).collect(),
    }))
}

pub(super) async fn block(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Body(asked): Body<wire::BlockKey>,
) -> Created<wire::BlockedKey> {
    let op = BlockKey {
        spki_sha256: asked.spki_sha256,
        reason: asked.reason,
    };
    let key = perform(&services, caller, |services| &services.authority, op).await?;
    Ok(created(spell_key(key)))
}

fn spell(stop: Stop) -> wire::IssuingStop {
    wire::IssuingStop {
        authority: stop.authority,
        profile: stop.profile,
        reason: stop.reason,
        stopped: stop.stopped_at,
        stopped_by: stop.stopped_by,
    }
}

fn spell_key(key: BlockedKey) -> wire::BlockedKey {
    wire::BlockedKey {
        spki_sha256: key.spki_sha256,
        reason: key.reason,
        blocked: key.blocked_at,
        blocked_by: key.blocked_by,
    }
}
