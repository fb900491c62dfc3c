//! `/api/vaults/{vault}/secrets`: values, lists, deletion. What stands beside values is in `secret_versions`.
//!
//! A value's `etag` is its version's id. `PUT` takes `if-match: "<version>"` (id or ordinal; `*` for any) and
//! `if-none-match: *` (RFC 9110 §13.1); what does not hold is a conflict.

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::body::{InQuery, NoBody, SecretBody, cursor};
use super::conditions::etag;
use super::{Answer, object, tags};
use crate::error::{Error, Result};
use crate::id::ObjectName;
use crate::identity::Caller;
use crate::surface::frame::Failure;
use crate::surface::{Shared, perform};
use crate::vault::{
    DeleteSecret, Described, Expect, Generate, ListSecretVersions, ListSecrets, NewValue, PasswordRules, PurgeSecret,
    ReadSecret, RecoverSecret, SecretAttributes, SecretFilter, SetSecret, Tags, Version, VersionRef, WhichVersion,
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
    let idempotency_key = headers
        .get(wire::IDEMPOTENCY_KEY)
        .map(|key| String::from_utf8_lossy(key.as_bytes()).parse())
        .transpose()?;
    let value = match (asked.bytes()?, asked.generate) {
        (Some(value), None) => NewValue::Given(value),
        (None, Some(rules)) => NewValue::Generated(generate(rules)?),
        _ => return Err(Error::invalid("give either `value` or `generate`, one of them").into()),
    };
    let op = SetSecret {
        vault,
        name: name.clone(),
        value,
        attributes: SecretAttributes {
            enabled: asked.enabled,
            not_before: asked.not_before,
            expires: asked.expires,
            content_type: asked.content_type.as_deref().map(str::parse).transpose()?,
            tags: Tags::new(asked.tags)?,
        },
        labels: asked.labels.iter().map(|label| label.parse()).collect::<Result<_>>()?,
        expect: expectation(&headers)?,
        idempotency_key,
    };
    let version = perform(&services, caller, |services| &services.vault, op).await?;
    Ok(Json(spell_version(name, version)))
}

pub(super) fn generate(asked: wire::Generate) -> Result<Generate> {
    let wire::Generate {
        kind,
        length,
        exclude_characters,
        exclude,
        require_each,
    } = asked;
    let ruled = require_each || !exclude.is_empty() || !exclude_characters.is_empty();
    match kind.as_str() {
        "password" => Ok(Generate::Password(PasswordRules {
            length,
            exclude_characters,
            exclude: exclude.iter().map(|class| class.parse()).collect::<Result<_>>()?,
            require_each,
        })),
        "token" | "uuid" if ruled => Err(Error::invalid(format!(
            "only passwords have rules about characters: leave them out for `{kind}`"
        ))),
        "token" => Ok(Generate::Token { bytes: length }),
        "uuid" if length.is_some() => Err(Error::invalid("a UUID has one length: leave `length` out")),
        "uuid" => Ok(Generate::Uuid),
        other => Err(Error::invalid(format!(
            "`{}` cannot be generated: use one of `password`, `token`, `uuid`",
            other.escape_debug()
        ))),
    }
}

pub(super) async fn read(
    services: State<Shared>,
    caller: Extension<Caller>,
    Path(path): Path<(String, String)>,
) -> Result<Response, Failure> {
    answer_value(services, caller, &path, VersionRef::Current.into()).await
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
    version: WhichVersion,
) -> Result<Response, Failure> {
    let (vault, name) = object(path)?;
    let op = ReadSecret {
        vault,
        name: name.clone(),
        version,
    };
    let found = perform(&services, caller, |services| &services.vault, op).await?;
    let id = found.version.id.to_string();
    let tag = etag(&id)?;
    let value = wire::SecretValue::new(name, id, found.version.ordinal, &found.value);
    Ok(([(header::ETAG, tag)], Json(value)).into_response())
}

pub(super) async fn list(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(vault): Path<String>,
    InQuery(query): InQuery<wire::SecretsQuery>,
) -> Answer<Page<wire::Secret>> {
    let page = query.page();
    let op = ListSecrets {
        vault: vault.parse()?,
        after: cursor(&page)?,
        limit: page.limit(),
        filter: SecretFilter {
            prefix: query.prefix,
            tag: query.tag.map(|tag| tag.parse()).transpose()?,
            state: query.state.map(|state| state.parse()).transpose()?,
        },
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
    let spelled = versions
        .items
        .into_iter()
        .map(|version| spell_version(name.clone(), version));
    Ok(Json(Page {
        items: spelled.collect(),
        next: versions.next.map(|ordinal| ordinal.to_string()),
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

pub(super) async fn purge(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<(String, String)>,
    _: NoBody,
) -> Result<StatusCode, Failure> {
    let (vault, name) = object(&path)?;
    let op = PurgeSecret { vault, name };
    perform(&services, caller, |services| &services.vault, op).await?;
    Ok(StatusCode::NO_CONTENT)
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

pub(super) fn spell(secret: Described) -> wire::Secret {
    wire::Secret {
        name: secret.name,
        version: secret.version.id.to_string(),
        ordinal: secret.version.ordinal,
        created: secret.created,
        updated: secret.updated,
        revision: secret.revision,
        attributes: spell_attributes(secret.version),
    }
}

fn spell_version(name: ObjectName, version: Version) -> wire::SecretVersion {
    wire::SecretVersion {
        name,
        version: version.id.to_string(),
        ordinal: version.ordinal,
        created: version.created,
        created_by: version.created_by.clone(),
        updated: version.updated,
        attributes: spell_attributes(version),
    }
}

fn spell_attributes(version: Version) -> wire::SecretAttributes {
    let attributes = &version.attributes;
    wire::SecretAttributes {
        current: version.is_current(),
        enabled: attributes.enabled,
        not_before: attributes.not_before,
        expires: attributes.expires,
        labels: version.labels.iter().map(ToString::to_string).collect(),
        content_type: attributes.content_type.as_ref().map(|it| it.as_str().to_owned()),
        tags: tags(&attributes.tags),
        recoverable_until: version.destroy,
        destroyed: version.destroyed,
    }
}
