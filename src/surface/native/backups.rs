//! Backups of single objects: `.../backup` of a secret or key, and `/api/vaults/{vault}/restore/...`.

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::body::{NoBody, RestoreBody, created};
use super::{Answer, Created, keys, object, secrets};
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

fn spell(backup: &ObjectBackup) -> wire::Backup {
    wire::Backup {
        name: backup.name().clone(),
        value: Base64(backup.to_bytes()),
    }
}
