//! The directory and fresh nonces (RFC 8555 §7.1.1, §7.2): for everybody, because a client begins here.

use axum::Json;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::answer::{REPLAY_NONCE, set};
use super::urls::Urls;
use crate::acme::{Problem, Signed};
use crate::error::Result;
use crate::surface::frame::Failure;

pub(super) async fn show(urls: Urls) -> Json<Value> {
    Json(directory(&urls))
}

/// By POST-as-GET (RFC 8555 §6.3).
pub(super) async fn show_signed(urls: Urls, signed: Signed) -> Result<Response> {
    only_gets(&signed)?;
    Ok(Json(directory(&urls)).into_response())
}

/// To HEAD the answer is 200, to GET 204.
pub(super) async fn nonce(urls: Urls, method: Method) -> Result<Response, Failure> {
    let status = if method == Method::HEAD {
        StatusCode::OK
    } else {
        StatusCode::NO_CONTENT
    };
    Ok((status, [(REPLAY_NONCE, urls.acme.nonce())]).into_response())
}

/// By POST-as-GET; every answer to a POST has a nonce.
pub(super) async fn nonce_signed(_: Urls, signed: Signed) -> Result<Response> {
    only_gets(&signed)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Refuses what is more than a POST-as-GET.
pub(super) fn only_gets(signed: &Signed) -> Result<()> {
    if signed.is_get() {
        Ok(())
    } else {
        Err(Problem::malformed("this path is only looked at: send an empty payload").into())
    }
}

fn directory(urls: &Urls) -> Value {
    let settings = urls.acme.settings();
    let profiles = urls.acme.profiles().iter();
    let profiles: serde_json::Map<_, _> = profiles
        .map(|profile| {
            (
                profile.to_string(),
                json!(format!("certificates of the profile `{profile}`")),
            )
        })
        .collect();
    let mut meta = json!({"externalAccountRequired": settings.external_account_required, "profiles": profiles});
    if let Some(terms) = &settings.terms_of_service {
        set(&mut meta, "termsOfService", json!(terms));
    }
    if let Some(website) = &settings.website {
        set(&mut meta, "website", json!(website));
    }
    if !urls.acme.issuer_domains().is_empty() {
        set(&mut meta, "caaIdentities", json!(urls.acme.issuer_domains()));
    }
    json!({
        "newNonce": urls.at("new-nonce"),
        "newAccount": urls.at("new-account"),
        "newOrder": urls.at("new-order"),
        "revokeCert": urls.at("revoke-cert"),
        "keyChange": urls.at("key-change"),
        "renewalInfo": urls.at("renewal-info"),
        "meta": meta,
    })
}
