//! `/api/authorities/{name}/acme/..`: the ACME server's accounts, and the keys of external accounts.

use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;

use super::body::{Body, InQuery, NoBody, created, cursor, next};
use super::{Answer, Created};
use crate::acme::{
    Account, Acme, CreateExternalKey, DeactivateAccount, DeleteExternalKey, ExternalKey, Grant, ListAccounts,
    ListExternalKeys, NameRules, RestrictAccount, ShowAccount,
};
use crate::error::{Error, Result};
use crate::gate::Operation;
use crate::identity::Caller;
use crate::surface::Shared;
use crate::surface::frame::Failure;
use crate::wire::{self, Page, PageQuery, SecretText};

pub(super) async fn accounts(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(authority): Path<String>,
    InQuery(query): InQuery<PageQuery>,
) -> Answer<Page<wire::AcmeAccount>> {
    let op = ListAccounts {
        authority: authority.parse()?,
        after: cursor(&query)?,
        limit: query.limit(),
    };
    let accounts = perform(services, caller, op).await?;
    Ok(Json(Page {
        next: next(&query, &accounts, |last| last.id.to_string()),
        items: accounts.into_iter().map(spell_account).collect(),
    }))
}

pub(super) async fn account(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path((authority, id)): Path<(String, String)>,
) -> Answer<wire::AcmeAccount> {
    let op = ShowAccount {
        authority: authority.parse()?,
        id: id.parse()?,
    };
    Ok(Json(spell_account(perform(services, caller, op).await?)))
}

pub(super) async fn restrict(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path((authority, id)): Path<(String, String)>,
    Body(asked): Body<wire::UpdateAcmeAccount>,
) -> Answer<wire::AcmeAccount> {
    let op = RestrictAccount {
        authority: authority.parse()?,
        id: id.parse()?,
        allow: asked.allow.as_deref().map(NameRules::patterns).transpose()?,
        deny: asked.deny.as_deref().map(NameRules::patterns).transpose()?,
        is_trusted: asked.trusted,
        agrees: asked.terms_agreed,
    };
    Ok(Json(spell_account(perform(services, caller, op).await?)))
}

pub(super) async fn deactivate(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path((authority, id)): Path<(String, String)>,
    _: NoBody,
) -> Answer<wire::AcmeAccount> {
    let op = DeactivateAccount {
        authority: authority.parse()?,
        id: id.parse()?,
    };
    Ok(Json(spell_account(perform(services, caller, op).await?)))
}

pub(super) async fn keys(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(authority): Path<String>,
    InQuery(query): InQuery<PageQuery>,
) -> Answer<Page<wire::ExternalKey>> {
    let op = ListExternalKeys {
        authority: authority.parse()?,
        after: cursor(&query)?,
        limit: query.limit(),
    };
    let keys = perform(services, caller, op).await?;
    Ok(Json(Page {
        next: next(&query, &keys, |last| last.id.to_string()),
        items: keys.into_iter().map(spell_key).collect(),
    }))
}

pub(super) async fn create_key(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(authority): Path<String>,
    Body(asked): Body<wire::CreateExternalKey>,
) -> Created<wire::NewExternalKey> {
    let op = CreateExternalKey {
        authority: authority.parse()?,
        grant: Grant {
            identity: asked.identity.parse()?,
            rules: NameRules {
                allow: NameRules::patterns(&asked.allow)?,
                deny: NameRules::patterns(&asked.deny)?,
            },
            is_trusted: asked.trusted,
            role: asked.role.as_deref().map(str::parse).transpose()?,
        },
        is_reusable: asked.reusable,
        life: asked.ttl_s.map(Duration::from_secs),
    };
    let (key, value) = perform(services, caller, op).await?;
    Ok(created(wire::NewExternalKey {
        kid: key.id.to_string(),
        hmac_key: SecretText::new(BASE64URL.encode(value.expose())),
        expires: key.expires,
    }))
}

pub(super) async fn delete_key(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path((authority, id)): Path<(String, String)>,
    _: NoBody,
) -> Result<StatusCode, Failure> {
    let op = DeleteExternalKey {
        authority: authority.parse()?,
        id: id.parse()?,
    };
    perform(services, caller, op).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Performs an operation of the ACME server, if there is one.
async fn perform<O>(services: Shared, caller: Caller, op: O) -> Result<O::Output>
where
    O: Operation<Engine = Acme> + 'static,
    O::Output: 'static,
{
    let acme = services.acme.clone();
    let acme =
        acme.ok_or_else(|| Error::not_found("this service has no ACME server: set `acme` in its configuration"))?;
    services.gate.perform(&caller, &acme, op).await
}

fn spell_account(account: Account) -> wire::AcmeAccount {
    let (identity, external_key) = match account.bound {
        Some(bound) => (Some(bound.identity.to_string()), Some(bound.key.to_string())),
        None => (None, None),
    };
    let [allow, deny] = account.rules.texts();
    wire::AcmeAccount {
        id: account.id.to_string(),
        status: account.status.as_str().to_owned(),
        contact: account.contact,
        identity,
        external_key,
        allow,
        deny,
        trusted: account.is_trusted,
        role: account.role.map(String::from),
        terms: account.terms,
        thumbprint: account.key.thumbprint(),
        created: account.created,
    }
}

fn spell_key(key: ExternalKey) -> wire::ExternalKey {
    let [allow, deny] = key.grant.rules.texts();
    wire::ExternalKey {
        kid: key.id.to_string(),
        identity: key.grant.identity.to_string(),
        allow,
        deny,
        trusted: key.grant.is_trusted,
        role: key.grant.role.map(String::from),
        reusable: key.is_reusable,
        used: key.used,
        created: key.created,
        created_by: key.created_by,
        expires: key.expires,
    }
}
