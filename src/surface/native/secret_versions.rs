//! `/api/vaults/{vault}/secrets/{name}/..`: what is known about versions, and what is changed of them.
//!
//! The `etag` is the secret's revision, which grows with every change. What changes attributes takes
//! `if-match: "<revision>"`; what does not hold is a conflict.

use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use super::body::{Body, InQuery, NoBody};
use super::conditions::{etag, expected};
use super::object;
use super::secrets::spell;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::gate::Operation;
use crate::identity::Caller;
use crate::surface::frame::Failure;
use crate::surface::{Shared, perform};
use crate::vault::{
    Described, DestroySecretVersion, LabelSecretVersion, RecoverSecretVersion, SecretChange, ShowSecret, Tags,
    UpdateSecret, Vault, VersionRef,
};
use crate::wire::{self, OrNull, TextOrNull};

/// A secret, with its revision as `etag`.
type Tagged = Result<Response, Failure>;

/// Vault, name and version, from the path.
type OfVersion = Path<(String, String, String)>;

pub(super) async fn show(
    services: State<Shared>,
    caller: Extension<Caller>,
    Path(path): Path<(String, String)>,
) -> Tagged {
    let (vault, name) = object(&path)?;
    let version = VersionRef::Current.into();
    answer(services, caller, ShowSecret { vault, name, version }).await
}

pub(super) async fn show_version(
    services: State<Shared>,
    caller: Extension<Caller>,
    Path((vault, name, version)): OfVersion,
) -> Tagged {
    let (vault, name) = object(&(vault, name))?;
    let version = version.parse()?;
    answer(services, caller, ShowSecret { vault, name, version }).await
}

pub(super) async fn update(
    services: State<Shared>,
    caller: Extension<Caller>,
    Path((vault, name)): Path<(String, String)>,
    headers: HeaderMap,
    Body(asked): Body<wire::UpdateSecret>,
) -> Tagged {
    let (vault, name) = object(&(vault, name))?;
    let op = UpdateSecret {
        vault,
        name,
        version: VersionRef::Current.into(),
        change: change(asked)?,
        expect: expected(&headers)?,
    };
    answer(services, caller, op).await
}

pub(super) async fn update_version(
    services: State<Shared>,
    caller: Extension<Caller>,
    Path((vault, name, version)): OfVersion,
    headers: HeaderMap,
    Body(asked): Body<wire::UpdateSecret>,
) -> Tagged {
    let (vault, name) = object(&(vault, name))?;
    let op = UpdateSecret {
        vault,
        name,
        version: version.parse()?,
        change: change(asked)?,
        expect: expected(&headers)?,
    };
    answer(services, caller, op).await
}

pub(super) async fn destroy(
    services: State<Shared>,
    caller: Extension<Caller>,
    Path((vault, name, version)): OfVersion,
    Body(asked): Body<wire::DestroyVersion>,
) -> Tagged {
    let (vault, name) = object(&(vault, name))?;
    let op = DestroySecretVersion {
        vault,
        name,
        version: version.parse()?,
        delay: Duration::from_secs(asked.delay_s),
    };
    answer(services, caller, op).await
}

pub(super) async fn recover(
    services: State<Shared>,
    caller: Extension<Caller>,
    Path((vault, name, version)): OfVersion,
    _: NoBody,
) -> Tagged {
    let (vault, name) = object(&(vault, name))?;
    let version = version.parse()?;
    answer(services, caller, RecoverSecretVersion { vault, name, version }).await
}

pub(super) async fn point(
    services: State<Shared>,
    caller: Extension<Caller>,
    Path((vault, name, label)): OfVersion,
    Body(asked): Body<wire::PointLabel>,
) -> Tagged {
    let (vault, name) = object(&(vault, name))?;
    let op = LabelSecretVersion {
        vault,
        name,
        label: label.parse()?,
        to: Some(asked.version.parse()?),
        from: asked.from.map(|from| from.parse()).transpose()?,
    };
    answer(services, caller, op).await
}

pub(super) async fn unpoint(
    services: State<Shared>,
    caller: Extension<Caller>,
    Path((vault, name, label)): OfVersion,
    InQuery(query): InQuery<wire::LabelQuery>,
    _: NoBody,
) -> Tagged {
    let (vault, name) = object(&(vault, name))?;
    let op = LabelSecretVersion {
        vault,
        name,
        label: label.parse()?,
        to: None,
        from: query.from.map(|from| from.parse()).transpose()?,
    };
    answer(services, caller, op).await
}

fn change(asked: wire::UpdateSecret) -> Result<SecretChange> {
    let time = |said: Option<OrNull>| -> Option<Option<Timestamp>> { said.map(|OrNull(time)| time) };
    let content_type = asked
        .content_type
        .map(|TextOrNull(text)| text.map(|text| text.parse()).transpose());
    Ok(SecretChange {
        enabled: asked.enabled,
        not_before: time(asked.not_before),
        expires: time(asked.expires),
        content_type: content_type.transpose()?,
        tags: asked.tags.map(Tags::new).transpose()?,
    })
}

async fn answer<O: Operation<Engine = Vault, Output = Described> + 'static>(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    op: O,
) -> Tagged {
    let secret = perform(&services, caller, |services| &services.vault, op).await?;
    let tag = etag(secret.revision)?;
    Ok(([(header::ETAG, tag)], Json(spell(secret))).into_response())
}
