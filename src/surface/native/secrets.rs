//! `/api/vaults/{vault}/secrets`.
//!
//! A value's `etag` is its version's id. `PUT` takes `if-match: "<version>"` (id or ordinal; `*` for any) and
//! `if-none-match: *` (RFC 9110 §13.1); what does not hold is a conflict.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::body::{InQuery, NoBody, SecretBody, cursor};
use super::{Answer, object};
use crate::error::{Error, Result};
use crate::id::ObjectName;
use crate::identity::Caller;
use crate::surface::frame::Failure;
use crate::surface::{Shared, perform};
use crate::vault::{
    DeleteSecret, Described, Expect, ListSecretVersions, ListSecrets, ReadSecret, RecoverSecret, SetSecret, ShowSecret,
    Tags, Version, VersionRef,
};
use crate::wire::{self, Page, PageQuery};

pub(super) async fn set(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<(String, String)>,
    headers: HeaderMap,
    SecretBody(asked): SecretBody<wire::SetSecret>,
) -> Answer<wire::SecretVersion> {
    let (vault, name) = object(&path)?;
    let op = SetSecret {
        vault,
        name: name.clone(),
        value: asked.bytes()?,
        content_type: asked.content_type.as_deref().map(str::parse).transpose()?,
        tags: Tags::new(asked.tags)?,
        expect: expectation(&headers)?,
    };
    let version = perform(&services, caller, |services| &services.vault, op).await?;
    Ok(Json(spell_version(name, version, true)))
}

pub(super) async fn read(
    services: State<Shared>,
    caller: Extension<Caller>,
    Path(path): Path<(String, String)>,
) -> Result<Response, Failure> {
    answer_value(services, caller, &path, VersionRef::Current).await
}

pub(super) async fn read_version(
    services: State<Shared>,
    caller: Extension<Caller>,
    Path((vault, name, version)): Path<(String, String, String)>,
) -> Result<Response, Failure> {
    let version = version.parse()?;
    answer_value(services, caller, &(vault, name), version).await
}

async fn answer_value(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    path: &(String, String),
    version: VersionRef,
) -> Result<Response, Failure> {
    let (vault, name) = object(path)?;
    let op = ReadSecret {
        vault,
        name: name.clone(),
        version,
    };
    let found = perform(&services, caller, |services| &services.vault, op).await?;
    let id = found.version.id.to_string();
    let tag = HeaderValue::from_str(&format!("\"{id}\"")).map_err(|e| Error::internal("an id is no tag").because(e))?;
    let value = wire::SecretValue::new(name, id, found.version.ordinal, &found.value);
    Ok(([(header::ETAG, tag)], Json(value)).into_response())
}

pub(super) async fn show(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<(String, String)>,
) -> Answer<wire::Secret> {
    let (vault, name) = object(&path)?;
    let found = perform(
        &services,
        caller,
        |services| &services.vault,
        ShowSecret { vault, name },
    )
    .await?;
    Ok(Json(spell(found)))
}

pub(super) async fn list(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(vault): Path<String>,
    InQuery(query): InQuery<PageQuery>,
) -> Answer<Page<wire::Secret>> {
    let op = ListSecrets {
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
) -> Answer<Page<wire::SecretVersion>> {
    let (vault, name) = object(&path)?;
    let op = ListSecretVersions {
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

pub(super) async fn delete(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<(String, String)>,
    _: NoBody,
) -> Answer<wire::Deleted> {
    let (vault, name) = object(&path)?;
    let deleted = perform(
        &services,
        caller,
        |services| &services.vault,
        DeleteSecret { vault, name },
    )
    .await?;
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
) -> Answer<wire::Secret> {
    let (vault, name) = object(&path)?;
    let found = perform(
        &services,
        caller,
        |services| &services.vault,
        RecoverSecret { vault, name },
    )
    .await?;
    Ok(Json(spell(found)))
}

fn expectation(headers: &HeaderMap) -> Result<Expect> {
    let tag = |name: HeaderName| -> Result<Option<&str>> {
        let Some(value) = headers.get(&name) else {
            return Ok(None);
        };
        value
            .to_str()
            .map(|text| Some(text.trim()))
            .map_err(|e| Error::invalid(format!("the header `{name}` is not text")).because(e))
    };
    match (tag(header::IF_MATCH)?, tag(header::IF_NONE_MATCH)?) {
        (None, None) => Ok(Expect::Anything),
        (None, Some("*")) => Ok(Expect::Absent),
        (Some("*"), None) => Ok(Expect::Version(VersionRef::Current)),
        (Some(tag), None) => Ok(Expect::Version(tag.trim_matches('"').parse()?)),
        _ => Err(Error::invalid(
            "that condition is not understood: send `if-match: \"<version>\"` or `if-none-match: *`",
        )),
    }
}

fn spell(secret: Described) -> wire::Secret {
    wire::Secret {
        name: secret.name,
        version: secret.current.id.to_string(),
        ordinal: secret.current.ordinal,
        created: secret.created,
        updated: secret.updated,
        content_type: content_type(&secret.current),
        tags: tags(&secret.current),
    }
}

fn spell_version(name: ObjectName, version: Version, current: bool) -> wire::SecretVersion {
    wire::SecretVersion {
        name,
        version: version.id.to_string(),
        ordinal: version.ordinal,
        current,
        created: version.created,
        content_type: content_type(&version),
        tags: tags(&version),
        created_by: version.created_by,
    }
}

fn content_type(version: &Version) -> Option<String> {
    version.content_type.as_ref().map(|it| it.as_str().to_owned())
}

fn tags(version: &Version) -> BTreeMap<String, String> {
    version
        .tags
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}
