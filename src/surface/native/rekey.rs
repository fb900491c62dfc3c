//! `/api/keks`: the keys that seal are replaced.

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;

use super::Answer;
use super::body::NoBody;
use crate::error::{Error, Result};
use crate::identity::Caller;
use crate::seal::Kek;
use crate::surface::frame::Failure;
use crate::surface::{Shared, perform};
use crate::vault::{ListKeks, RetireKek, RotateKek};
use crate::wire;

pub(super) async fn keks(State(services): State<Shared>, Extension(caller): Extension<Caller>) -> Answer<wire::Keks> {
    let keks = perform(&services, caller, |services| &services.vault, ListKeks).await?;
    Ok(Json(spell(keks)))
}

pub(super) async fn rotate_kek(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    _: NoBody,
) -> Result<(StatusCode, Json<wire::Keks>), Failure> {
    perform(&services, caller.clone(), |services| &services.vault, RotateKek).await?;
    let keks = perform(&services, caller, |services| &services.vault, ListKeks).await?;
    Ok((StatusCode::ACCEPTED, Json(spell(keks))))
}

pub(super) async fn retire_kek(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(generation): Path<String>,
    _: NoBody,
) -> Answer<wire::Keks> {
    let op = RetireKek {
        generation: generation
            .parse()
            .map_err(|_| Error::invalid("a generation is a number from 1"))?,
    };
    perform(&services, caller.clone(), |services| &services.vault, op).await?;
    let keks = perform(&services, caller, |services| &services.vault, ListKeks).await?;
    Ok(Json(spell(keks)))
}

fn spell(keks: Vec<Kek>) -> wire::Keks {
    let keks = keks.into_iter().map(|kek| wire::Kek {
        generation: kek.generation,
        label: kek.label,
        stage: kek.stage.to_string(),
        since: kek.since,
        data_keys: kek.data_keys,
    });
    wire::Keks { keks: keks.collect() }
}
