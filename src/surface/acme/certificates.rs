//! Download, revocation (RFC 8555 §7.4.2, §7.6) and renewal information (RFC 9773 §4).

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde::Deserialize;
use serde_json::json;

use super::answer::{link, set};
use super::directory::only_gets;
use super::urls::{Urls, no_chain};
use crate::acme::{By, Problem, Revocation, RevokedBy, Signed};
use crate::error::Result;
use crate::surface::frame::Failure;
use crate::x509::pem;

#[derive(Deserialize)]
struct Revoke {
    certificate: String,
    reason: Option<u64>,
}

pub(super) async fn download(urls: Urls, signed: Signed) -> Result<Response> {
    only_gets(&signed)?;
    let (account, caller, _) = signed.account()?;
    let (order, wanted) = (urls.id()?, urls.chain()?);
    let chains = urls.acme.certificate(caller, account.clone(), order).await?;
    let chain = chains.get(wanted).ok_or_else(|| no_chain(&wanted.to_string()))?;
    let kind = [(header::CONTENT_TYPE, "application/pem-certificate-chain")];
    let mut response = (kind, pem::encode_chain(chain)).into_response();
    for other in (0..chains.len()).filter(|other| *other != wanted) {
        link(response.headers_mut(), &urls.chain_of(order, other), "alternate");
    }
    Ok(response)
}

pub(super) async fn revoke(urls: Urls, signed: Signed) -> Result<Response> {
    let asked: Revoke = signed.read()?;
    let certificate = BASE64URL
        .decode(&asked.certificate)
        .map_err(|e| Problem::malformed(format!("`certificate` is not base64url without padding: {e}")))?;
    let by = match signed.by {
        By::Account { account, .. } => RevokedBy::Account(account),
        By::Key(key) => RevokedBy::Key(key),
    };
    let asked = Revocation {
        certificate,
        reason: asked.reason,
    };
    urls.acme.revoke(signed.source, signed.request, by, asked).await?;
    Ok(StatusCode::OK.into_response())
}

/// When a certificate is best renewed: for everybody, because it tells nobody more than the certificate does.
pub(super) async fn renewal_info(urls: Urls) -> Result<Response, Failure> {
    let info = urls.acme.renewal_info(urls.certificate_id()).await?;
    let window = json!({"start": info.start.to_string(), "end": info.end.to_string()});
    let mut document = json!({ "suggestedWindow": window });
    if info.is_early
        && let Some(explanation) = &urls.acme.settings().renewal_explanation
    {
        set(&mut document, "explanationURL", json!(explanation));
    }
    let ask_again_in = info.ask_again_in.as_secs();
    let about = [
        (header::RETRY_AFTER, ask_again_in.to_string()),
        (header::CACHE_CONTROL, format!("public, max-age={ask_again_in}")),
    ];
    Ok((about, Json(document)).into_response())
}
