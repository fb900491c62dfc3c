//! Orders, authorizations and challenges (RFC 8555 §7.1.3 to §7.1.5, §7.4, §7.5).

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::answer::{self, link, set};
use super::directory::only_gets;
use super::urls::Urls;
use crate::acme::validation::Method;
use crate::acme::{
    AskedIdentifier, Authorization, Challenge, NewOrder, Order, OrderStatus, Problem, ProblemType, Signed,
};
use crate::error::Result;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct New {
    #[serde(default)]
    identifiers: Vec<Identifier>,
    not_before: Option<IgnoredAny>,
    not_after: Option<IgnoredAny>,
    profile: Option<String>,
    replaces: Option<String>,
}

#[derive(Deserialize)]
struct Identifier {
    #[serde(rename = "type")]
    kind: String,
    value: String,
}

#[derive(Deserialize)]
struct Finalize {
    csr: String,
}

#[derive(Deserialize)]
struct Update {
    status: String,
}

/// newOrder.
pub(super) async fn place(urls: Urls, signed: Signed) -> Result<Response> {
    let asked: New = signed.read()?;
    let (account, caller, _) = signed.account()?;
    let asked = NewOrder {
        identifiers: asked
            .identifiers
            .into_iter()
            .map(|Identifier { kind, value }| AskedIdentifier { kind, value })
            .collect(),
        profile: asked.profile,
        replaces: asked.replaces,
        asks_validity: asked.not_before.is_some() || asked.not_after.is_some(),
    };
    let order = urls.acme.place_order(caller, account.clone(), asked).await?;
    let location = [(header::LOCATION, urls.order(order.id))];
    Ok((StatusCode::CREATED, location, Json(spell(&urls, &order))).into_response())
}

pub(super) async fn show(urls: Urls, signed: Signed) -> Result<Response> {
    only_gets(&signed)?;
    let (account, ..) = signed.account()?;
    let order = urls.acme.order(account, urls.id()?).await?;
    Ok(with_patience(&order, Json(spell(&urls, &order)).into_response()))
}

pub(super) async fn finalize(urls: Urls, signed: Signed) -> Result<Response> {
    let asked: Finalize = signed.read()?;
    let csr = BASE64URL.decode(&asked.csr).map_err(|e| {
        let text = format!("`csr` is not base64url without padding: {e}");
        Problem::new(ProblemType::BadCsr, text)
    })?;
    let (account, caller, _) = signed.account()?;
    let order = urls.acme.finalize(caller, account.clone(), urls.id()?, &csr).await?;
    let location = [(header::LOCATION, urls.order(order.id))];
    let response = (location, Json(spell(&urls, &order))).into_response();
    Ok(with_patience(&order, response))
}

/// Looking at an authorization, or giving it up.
pub(super) async fn authorization(urls: Urls, signed: Signed) -> Result<Response> {
    let (account, caller, _) = signed.account()?;
    let id = urls.id()?;
    let authorization = if signed.is_get() {
        urls.acme.authorization(account, id).await?
    } else {
        let asked: Update = signed.read()?;
        if asked.status != "deactivated" {
            return Err(Problem::malformed("an authorization can only be given the status `deactivated`").into());
        }
        urls.acme.deactivate_authorization(caller, account.clone(), id).await?
    };
    Ok(Json(spell_authorization(&urls, &authorization)).into_response())
}

/// Looking at a challenge, or saying that it can be validated.
pub(super) async fn challenge(urls: Urls, signed: Signed) -> Result<Response> {
    let (account, caller, account_url) = signed.account()?;
    let (id, method) = (urls.id()?, urls.method()?);
    let authorization = if signed.is_get() {
        urls.acme.authorization(account, id).await?
    } else {
        // Whatever stands in it is ignored (RFC 8555 §7.5.1).
        let _: serde_json::Map<String, Value> = signed.read()?;
        urls.acme
            .respond(caller, account.clone(), id, method, account_url)
            .await?
    };
    let challenge = authorization.challenge(method);
    let mut response = Json(spell_challenge(&urls, &authorization, &challenge)).into_response();
    link(response.headers_mut(), &urls.authorization(id), "up");
    Ok(response)
}

/// An order whose certificate is being made is soon done (RFC 8555 §7.4).
fn with_patience(order: &Order, mut response: Response) -> Response {
    if order.status == OrderStatus::Processing {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn spell(urls: &Urls, order: &Order) -> Value {
    let identifiers: Vec<Value> = order
        .identifiers
        .iter()
        .map(|asked| json!({"type": asked.identifier.kind(), "value": asked.to_string()}))
        .collect();
    let authorizations: Vec<String> = order.authorizations.iter().map(|id| urls.authorization(*id)).collect();
    let mut document = json!({
        "status": order.status.as_str(),
        "expires": order.expires.to_string(),
        "identifiers": identifiers,
        "profile": order.profile.as_str(),
        "authorizations": authorizations,
        "finalize": urls.finalize(order.id),
    });
    if let Some(replaces) = &order.replaces {
        set(&mut document, "replaces", json!(replaces));
    }
    if let Some(error) = &order.error {
        set(&mut document, "error", answer::spell(error));
    }
    if order.has_certificate() {
        set(&mut document, "certificate", json!(urls.certificate(order.id)));
    }
    document
}

fn spell_authorization(urls: &Urls, authorization: &Authorization) -> Value {
    let challenges: Vec<Value> = urls
        .acme
        .challenges(authorization)
        .iter()
        .map(|challenge| spell_challenge(urls, authorization, challenge))
        .collect();
    let mut document = json!({
        "status": authorization.status(urls.acme.now()).as_str(),
        "expires": authorization.expires.to_string(),
        "identifier": {"type": authorization.identifier.kind(), "value": authorization.identifier.value()},
        "challenges": challenges,
    });
    // Absent otherwise (RFC 8555 §7.1.4).
    if authorization.wildcard {
        set(&mut document, "wildcard", json!(true));
    }
    document
}

fn spell_challenge(urls: &Urls, authorization: &Authorization, challenge: &Challenge) -> Value {
    let mut document = json!({
        "type": challenge.method.as_str(),
        "url": urls.challenge(authorization.id, challenge.method),
        "status": challenge.status.as_str(),
    });
    match challenge.method {
        // It has a standing record in the place of a token.
        Method::DnsPersist01 => set(&mut document, "issuer-domain-names", json!(urls.acme.issuer_domains())),
        _ => set(&mut document, "token", json!(challenge.token)),
    }
    if let Some(validated) = challenge.validated {
        set(&mut document, "validated", json!(validated.to_string()));
    }
    if let Some(error) = &challenge.error {
        set(&mut document, "error", answer::spell(error));
    }
    document
}
