//! What is public by nature: health, and what others need to trust and validate us. Nobody is asked who they are, and
//! nothing here may cost more than a look into memory or one indexed query.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::json;

use super::frame::Failure;
use super::{Mounts, Shared, acme::help, trust_bundle};
use crate::ca::{Answer, Published, Response as OcspResponse};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::upstream::solver::http_01;
use crate::wire::paths::route;
use crate::x509::ocsp;

/// How long a cache may keep a revocation list or an OCSP answer, in seconds.
const CACHED_S: u64 = 300;
/// With or without padding, as clients have it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// On the TLS listener.
pub(super) fn mount(mounts: Mounts) -> Mounts {
    mounts
        .ungated(Method::GET, "/healthz", healthz)
        .ungated(Method::GET, "/readyz", readyz)
        .ungated(Method::GET, "/version", version)
        .ungated(Method::GET, "/roots.pem", roots)
        .ungated(Method::GET, route::TRUST_BUNDLE, trust_bundle::show)
}

/// On the plain-HTTP listener.
pub(super) fn mount_plain(mounts: Mounts) -> Mounts {
    mounts
        .ungated(Method::GET, "/.well-known/acme-challenge/{token}", challenge)
        .ungated(Method::GET, "/crl/{issuer}/{file}", crl)
        .ungated(Method::GET, "/aia/{file}", issuer)
        .ungated(Method::GET, help::LIMITS, help::limits)
        .ungated(Method::GET, "/ocsp/{issuer}/{*request}", ocsp_get)
        .ungated(Method::POST, "/ocsp/{issuer}", ocsp_post)
}

/// An issuer's revocation list, DER (RFC 5280 §4.2.1.13), where its certificates say it is.
async fn crl(
    State(services): State<Shared>,
    Path((issuer, file)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let nothing = || Error::not_found("there is no revocation list at this address");
    let shard = file
        .strip_suffix(".crl")
        .and_then(|shard| shard.parse().ok())
        .ok_or_else(nothing)?;
    let now = services.gate.clock().now();
    // CRASH: it may have to be made first, and that act must not end with this connection.
    let list = tokio::spawn(async move { services.authority.crl(&issuer, shard).await })
        .await
        .map_err(|e| Error::internal("a revocation list was not made by a fault of ours").because(e))??;

    let tag = format!("\"{}\"", list.number);
    // A cache between us and the asker must not hide a revocation for long.
    let left = list.next_update.since(now).as_secs().min(CACHED_S);
    let about = [
        (header::ETAG, tag.clone()),
        (header::CACHE_CONTROL, format!("public, max-age={left}")),
    ];
    if knows(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, about).into_response());
    }
    let kind = [(header::CONTENT_TYPE, "application/pkix-crl")];
    Ok((about, kind, Bytes::from_owner(List(list))).into_response())
}

/// A list as a body that is not copied.
struct List(Arc<Published>);

impl AsRef<[u8]> for List {
    fn as_ref(&self) -> &[u8] {
        &self.0.der
    }
}

/// An OCSP request in the path (RFC 6960 §A.1): base64 of its DER.
async fn ocsp_get(
    State(services): State<Shared>,
    Path((issuer, request)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    // What is not base64 is no request, as the authority says of no bytes at all.
    let bounded = Some(request).filter(|request| request.len() <= 2 * ocsp::LONGEST);
    let request = bounded.and_then(|request| BASE64.decode(request).ok());
    answer(services, issuer, request.unwrap_or_default(), &headers).await
}

/// An OCSP request as a body.
async fn ocsp_post(
    State(services): State<Shared>,
    Path(issuer): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let request = axum::body::to_bytes(body, ocsp::LONGEST).await.unwrap_or_default();
    answer(services, issuer, request.to_vec(), &headers).await
}

async fn answer(services: Shared, issuer: String, request: Vec<u8>, headers: &HeaderMap) -> Result<Response, Failure> {
    let now = services.gate.clock().now();
    // CRASH: the responder's certificate may have to be renewed first, and that act must not end with this connection.
    let answer = tokio::spawn(async move { services.authority.ocsp(&issuer, &request).await })
        .await
        .map_err(|e| Error::internal("an OCSP request was not answered by a fault of ours").because(e))??;
    let kind = [(header::CONTENT_TYPE, "application/ocsp-response")];
    let response = match answer {
        Answer::Refused(refusal) => return Ok((kind, refusal.to_der()).into_response()),
        Answer::Signed(response) => response,
    };
    // RFC 9919 §7.2; a cache between us and the asker must not hide a revocation for long.
    let left = response.window.next_update.since(now).as_secs().min(CACHED_S);
    let tag = format!("\"{}\"", response.etag);
    let about = [
        (header::ETAG, tag.clone()),
        (header::LAST_MODIFIED, http_date(response.window.this_update)),
        (header::EXPIRES, http_date(now + Duration::from_secs(left))),
        (
            header::CACHE_CONTROL,
            format!("max-age={left}, public, no-transform, must-revalidate"),
        ),
    ];
    if knows(headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, about).into_response());
    }
    Ok((about, kind, Bytes::from_owner(Ocsp(response))).into_response())
}

/// Whether the asker has what this tag names (RFC 9110 §13.1.2).
pub(super) fn knows(headers: &HeaderMap, tag: &str) -> bool {
    let known = headers.get_all(header::IF_NONE_MATCH).iter();
    known.flat_map(|value| value.to_str()).any(|value| value.contains(tag))
}

/// RFC 9110 §5.6.7.
fn http_date(at: Timestamp) -> String {
    const FORM: &[time::format_description::BorrowedFormatItem<'_>] = time::macros::format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    at.to_offset().format(FORM).unwrap_or_default()
}

/// A response as a body that is not copied.
struct Ocsp(Arc<OcspResponse>);

impl AsRef<[u8]> for Ocsp {
    fn as_ref(&self) -> &[u8] {
        &self.0.der
    }
}

/// An issuer's certificate, DER (RFC 5280 §4.2.2.1), where the certificates that it issued say it is.
async fn issuer(State(services): State<Shared>, Path(file): Path<String>) -> Result<Response, Failure> {
    let label = file.strip_suffix(".cer").unwrap_or_default();
    let Some(der) = services.authority.issuer_certificate(label) else {
        return Err(Error::not_found("there is no issuer's certificate at this address").into());
    };
    Ok(([(header::CONTENT_TYPE, "application/pkix-cert")], der.to_vec()).into_response())
}

/// What to trust this service's own certificates by.
async fn roots(State(services): State<Shared>) -> impl IntoResponse {
    let kind = [(header::CONTENT_TYPE, "application/pem-certificate-chain")];
    (kind, services.authority.roots_pem())
}

/// Our answer to another CA's http-01 challenge (RFC 8555 §8.3), given by any node that shares the store.
async fn challenge(State(services): State<Shared>, Path(token): Path<String>) -> Result<Response, Failure> {
    let Some(answer) = http_01::answer(services.gate.store(), &token).await? else {
        return Err(Error::not_found("there is no such challenge here now").into());
    };
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], answer).into_response())
}

/// The process runs and answers.
async fn healthz() -> &'static str {
    "ok\n"
}

/// This node can do its work: records become durable and are signed, and the store answers.
async fn readyz(State(services): State<Shared>) -> Result<&'static str, Failure> {
    services.log.health()?;
    services.gate.store().ping().await?;
    Ok("ready\n")
}

async fn version() -> impl IntoResponse {
    Json(json!({ "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") }))
}
