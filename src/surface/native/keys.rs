//! `/api/vaults/{vault}/keys`: keys themselves. Their uses are in `key_uses`.
//!
//! A key's `etag` is its revision, which grows with every change. What changes a key takes `if-match: "<revision>"`
//! (RFC 9110 §13.1); what does not hold is a conflict.

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::body::{Body, InQuery, NoBody, SecretBody, cursor};
use super::conditions::{etag, expected};
use super::{Answer, object, tags};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::ObjectName;
use crate::identity::Caller;
use crate::surface::frame::Failure;
use crate::surface::{Shared, perform};
use crate::vault::{
    Change, CreateKey, DeleteKey, ImportKey, ImportKeyVersion, KeyDescribed, KeyFormat, KeyOp, KeyProtection,
    KeyVersion, ListKeyVersions, ListKeys, NewKey, NewVersion, PurgeKey, RecoverKey, RotateKey, ShowKey, Tags,
    UpdateKey, VersionRef, WrappedBy,
};
use crate::wire::{self, OrNull, Page, PageQuery};

/// A key, with its revision as `etag`.
type Tagged = Result<Response, Failure>;

pub(super) async fn create(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(vault): Path<String>,
    Body(asked): Body<wire::CreateKey>,
) -> Tagged {
    let protection = asked.protection.map(|protection| protection.parse()).transpose()?;
    let op = CreateKey {
        vault: vault.parse()?,
        name: asked.name,
        kind: asked.kind.parse()?,
        new: NewKey {
            protection: protection.unwrap_or(KeyProtection::Software),
            exportable: asked.exportable,
            ops: asked.key_ops.map(ops).transpose()?,
            enabled: asked.enabled,
            not_before: asked.not_before,
            expires: asked.expires,
            tags: Tags::new(asked.tags)?,
        },
    };
    let made = perform(&services, caller, |services| &services.vault, op).await?;
    Ok((StatusCode::CREATED, tagged(made)?).into_response())
}

pub(super) async fn import(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<(String, String)>,
    headers: HeaderMap,
    SecretBody(asked): SecretBody<wire::ImportKey>,
) -> Tagged {
    let (vault, name) = object(&path)?;
    let wrapped_by = asked.wrapped_by.map(|by| {
        Ok::<_, Error>(WrappedBy {
            name: by.name,
            version: by.version.map_or(Ok(VersionRef::Current), |version| version.parse())?,
            algorithm: by.algorithm.parse()?,
        })
    });
    let kind = asked.kind.map(|kind| kind.parse()).transpose()?;
    let protection = asked.protection.map(|protection| protection.parse()).transpose()?;
    let wrapped_by = wrapped_by.transpose()?;
    let format = asked.format.map_or(Ok(KeyFormat::Pkcs8), |format| format.parse())?;
    let ops = asked.key_ops.map(ops).transpose()?;
    let expect = expected(&headers)?;
    if asked.new_version {
        let op = ImportKeyVersion {
            vault,
            name,
            kind,
            format,
            key: asked.key.0,
            wrapped_by,
            next: NewVersion {
                protection,
                exportable: asked.exportable,
                ops,
                enabled: asked.enabled,
                not_before: asked.not_before,
                expires: asked.expires,
                tags: (!asked.tags.is_empty()).then(|| Tags::new(asked.tags)).transpose()?,
            },
            expect,
        };
        let made = perform(&services, caller, |services| &services.vault, op).await?;
        return Ok((StatusCode::CREATED, tagged(made)?).into_response());
    }
    if expect.is_some() {
        return Err(Error::invalid("a new key has no revision yet: leave `if-match` out, or say `new_version`").into());
    }
    let op = ImportKey {
        vault,
        name,
        kind,
        format,
        key: asked.key.0,
        wrapped_by,
        new: NewKey {
            protection: protection.unwrap_or(KeyProtection::Software),
            exportable: asked.exportable,
            ops,
            enabled: asked.enabled,
            not_before: asked.not_before,
            expires: asked.expires,
            tags: Tags::new(asked.tags)?,
        },
    };
    let made = perform(&services, caller, |services| &services.vault, op).await?;
    Ok((StatusCode::CREATED, tagged(made)?).into_response())
}

pub(super) async fn show(
    services: State<Shared>,
    caller: Extension<Caller>,
    Path(path): Path<(String, String)>,
) -> Tagged {
    answer_shown(services, caller, &path, VersionRef::Current).await
}

pub(super) async fn show_version(
    services: State<Shared>,
    caller: Extension<Caller>,
    Path((vault, name, version)): Path<(String, String, String)>,
) -> Tagged {
    let version = version.parse()?;
    answer_shown(services, caller, &(vault, name), version).await
}

async fn answer_shown(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    path: &(String, String),
    version: VersionRef,
) -> Tagged {
    let (vault, name) = object(path)?;
    let op = ShowKey { vault, name, version };
    let found = perform(&services, caller, |services| &services.vault, op).await?;
    Ok(tagged(found)?)
}

pub(super) async fn list(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(vault): Path<String>,
    InQuery(query): InQuery<PageQuery>,
) -> Answer<Page<wire::Key>> {
    let op = ListKeys {
        vault: vault.parse()?,
        after: cursor(&query)?,
        limit: query.limit(),
    };
    let page = perform(&services, caller, |services| &services.vault, op).await?;
    Ok(Json(Page {
        items: page.items.into_iter().map(spell).collect(),
        next: page.next.map(String::from),
    }))
}

pub(super) async fn versions(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<(String, String)>,
    InQuery(query): InQuery<PageQuery>,
) -> Answer<Page<wire::KeyVersion>> {
    let (vault, name) = object(&path)?;
    let op = ListKeyVersions {
        vault,
        name: name.clone(),
        before: cursor(&query)?,
        limit: query.limit(),
    };
    let versions = perform(&services, caller, |services| &services.vault, op).await?;
    let spelled = versions.page.items.into_iter().map(|version| {
        let current = version.ordinal == versions.current;
        spell_version(name.clone(), version, current)
    });
    Ok(Json(Page {
        items: spelled.collect(),
        next: versions.page.next.map(|ordinal| ordinal.to_string()),
    }))
}

pub(super) async fn rotate(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<(String, String)>,
    headers: HeaderMap,
    Body(asked): Body<wire::RotateKey>,
) -> Tagged {
    let (vault, name) = object(&path)?;
    let op = RotateKey {
        vault,
        name,
        expires: asked.expires,
        expect: expected(&headers)?,
    };
    let rotated = perform(&services, caller, |services| &services.vault, op).await?;
    Ok(tagged(rotated)?)
}

pub(super) async fn update(
    services: State<Shared>,
    caller: Extension<Caller>,
    Path(path): Path<(String, String)>,
    headers: HeaderMap,
    Body(asked): Body<wire::UpdateKey>,
) -> Tagged {
    answer_updated(services, caller, &path, VersionRef::Current, &headers, asked).await
}

pub(super) async fn update_version(
    services: State<Shared>,
    caller: Extension<Caller>,
    Path((vault, name, version)): Path<(String, String, String)>,
    headers: HeaderMap,
    Body(asked): Body<wire::UpdateKey>,
) -> Tagged {
    let version = version.parse()?;
    answer_updated(services, caller, &(vault, name), version, &headers, asked).await
}

async fn answer_updated(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    path: &(String, String),
    version: VersionRef,
    headers: &HeaderMap,
    asked: wire::UpdateKey,
) -> Tagged {
    let (vault, name) = object(path)?;
    let time = |said: Option<OrNull>| -> Option<Option<Timestamp>> { said.map(|OrNull(time)| time) };
    let op = UpdateKey {
        vault,
        name,
        version,
        change: Change {
            enabled: asked.enabled,
            not_before: time(asked.not_before),
            expires: time(asked.expires),
            ops: asked.key_ops.map(ops).transpose()?,
            tags: asked.tags.map(Tags::new).transpose()?,
        },
        expect: expected(headers)?,
    };
    let updated = perform(&services, caller, |services| &services.vault, op).await?;
    Ok(tagged(updated)?)
}

pub(super) async fn delete(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<(String, String)>,
    _: NoBody,
) -> Answer<wire::Deleted> {
    let (vault, name) = object(&path)?;
    let op = DeleteKey { vault, name };
    let deleted = perform(&services, caller, |services| &services.vault, op).await?;
    Ok(Json(wire::Deleted {
        name: deleted.name,
        deleted: deleted.deleted,
        recoverable_until: deleted.recoverable_until,
    }))
}

pub(super) async fn recover(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<(String, String)>,
    _: NoBody,
) -> Tagged {
    let (vault, name) = object(&path)?;
    let op = RecoverKey { vault, name };
    let found = perform(&services, caller, |services| &services.vault, op).await?;
    Ok(tagged(found)?)
}

pub(super) async fn purge(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<(String, String)>,
    _: NoBody,
) -> Result<StatusCode, Failure> {
    let (vault, name) = object(&path)?;
    let op = PurgeKey { vault, name };
    perform(&services, caller, |services| &services.vault, op).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn ops(names: Vec<String>) -> Result<Vec<KeyOp>> {
    names.iter().map(|name| name.parse()).collect()
}

pub(super) fn tagged(key: KeyDescribed) -> Result<Response> {
    let tag = etag(key.revision)?;
    let (pem, jwk) = (key.version.public_pem()?, key.version.jwk()?);
    let mut spelled = spell(key);
    spelled.version.public_key_pem = pem;
    spelled.version.jwk = jwk;
    Ok(([(header::ETAG, tag)], Json(spelled)).into_response())
}

fn spell(key: KeyDescribed) -> wire::Key {
    let current = key.version.ordinal == key.latest;
    wire::Key {
        id: key.id.to_string(),
        revision: key.revision,
        version: spell_version(key.name, key.version, current),
    }
}

fn spell_version(name: ObjectName, version: KeyVersion, current: bool) -> wire::KeyVersion {
    let attributes = version.attributes;
    wire::KeyVersion {
        name,
        version: version.id.to_string(),
        ordinal: version.ordinal,
        current,
        kind: version.kind.to_string(),
        protection: version.protection.to_string(),
        exportable: version.exportable,
        enabled: attributes.enabled,
        not_before: attributes.not_before,
        expires: attributes.expires,
        key_ops: attributes.ops.iter().map(|op| op.to_string()).collect(),
        created: version.created,
        created_by: version.created_by,
        updated: version.updated,
        tags: tags(&attributes.tags),
        public_key_pem: None,
        jwk: None,
    }
}
