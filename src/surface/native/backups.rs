//! Backups of single objects: `.../backup` of a secret or key, and `/api/vaults/{vault}/restore/...`; of the whole service:
//! `/api/backups`.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use futures::stream;
use tokio::sync::mpsc;

use super::body::{NoBody, RestoreBody, created};
use super::{Answer, Created, keys, object, secrets};
use crate::backup::CreateBackup;
use crate::error::Error;
use crate::identity::Caller;
use crate::surface::frame::Failure;
use crate::surface::{Shared, perform};
use crate::vault::{BackupKey, BackupSecret, ObjectBackup, RestoreKey, RestoreSecret};
use crate::wire::{self, Base64};

pub(super) async fn secret(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<(String, String)>,
    _: NoBody,
) -> Answer<wire::Backup> {
    let (vault, name) = object(&path)?;
    let op = BackupSecret { vault, name };
    let backup = perform(&services, caller, |services| &services.vault, op).await?;
    Ok(Json(spell(&backup)))
}

pub(super) async fn key(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<(String, String)>,
    _: NoBody,
) -> Answer<wire::Backup> {
    let (vault, name) = object(&path)?;
    let op = BackupKey { vault, name };
    let backup = perform(&services, caller, |services| &services.vault, op).await?;
    Ok(Json(spell(&backup)))
}

pub(super) async fn restore_secret(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(vault): Path<String>,
    RestoreBody(asked, _turn): RestoreBody,
) -> Created<wire::Secret> {
    let op = RestoreSecret {
        vault: vault.parse()?,
        backup: ObjectBackup::of_secret(&asked.value.0)?,
    };
    let restored = perform(&services, caller, |services| &services.vault, op).await?;
    Ok(created(secrets::spell(restored)))
}

pub(super) async fn restore_key(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(vault): Path<String>,
    RestoreBody(asked, _turn): RestoreBody,
) -> Result<Response, Failure> {
    let op = RestoreKey {
        vault: vault.parse()?,
        backup: ObjectBackup::of_key(&asked.value.0)?,
    };
    let restored = perform(&services, caller, |services| &services.vault, op).await?;
    Ok((StatusCode::CREATED, keys::tagged(restored)?).into_response())
}

/// Pieces that wait for whoever reads them.
const PIECES: usize = 8;

/// The file as it is made. What goes wrong behind its beginning cuts the answer off.
pub(super) async fn service(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    _: NoBody,
) -> Result<Response, Failure> {
    let (to, mut from) = mpsc::channel(PIECES);
    let making =
        tokio::spawn(
            async move { perform(&services, caller, |services| &services.backups, CreateBackup { to }).await },
        );
    let ended = |error| Error::internal("a backup ended by a fault of ours").because(error);
    let Some(first) = from.recv().await else {
        making.await.map_err(ended)??;
        return Err(Error::internal("a backup came without a beginning").into());
    };
    let rest = stream::unfold(Some((from, making)), |state| async {
        let (mut from, making) = state?;
        if let Some(piece) = from.recv().await {
            return Some((Ok(Bytes::from(piece)), Some((from, making))));
        }
        let failure = match making.await {
            Ok(Ok(())) => return None,
            Ok(Err(error)) => error.detail(),
            Err(error) => error.to_string(),
        };
        tracing::error!("a backup was cut off: {failure}");
        Some((Err(std::io::Error::other("the backup was cut off")), None))
    });
    let whole = futures::StreamExt::chain(stream::iter([Ok(Bytes::from(first))]), rest);
    let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
    Ok((kind, Body::from_stream(whole)).into_response())
}

fn spell(backup: &ObjectBackup) -> wire::Backup {
    wire::Backup {
        name: backup.name().clone(),
        value: Base64(backup.to_bytes()),
    }
}
