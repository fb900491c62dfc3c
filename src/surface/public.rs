//! What is public by nature: health, and what others need to trust and validate us. Nobody is asked who they are, and
//! nothing here may cost more than a look into memory or one indexed query.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::frame::Failure;
use super::{Mounts, Shared};
use crate::ca::Published;
use crate::error::Error;
use crate::upstream::solver::http_01;

/// How long a cache may keep a revocation list, in seconds.
const CRL_CACHED_S: u64 = 300;

/// On the TLS listener.
pub(super) fn mount(mounts: Mounts) -> Mounts {
    mounts
        .ungated(Method::GET, "/healthz", healthz)
        .ungated(Method::GET, "/readyz", readyz)
        .ungated(Method::GET, "/version", version)
        .ungated(Method::GET, "/roots.pem", roots)
}

/// On the plain-HTTP listener.
pub(super) fn mount_plain(mounts: Mounts) -> Mounts {
    mounts
        .ungated(Method::GET, "/.well-known/acme-challenge/{token}", challenge)
        .ungated(Method::GET, "/crl/{issuer}/{file}", crl)
        .ungated(Method::GET, "/aia/{file}", issuer)
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
    let left = list.next_update.since(now).as_secs().min(CRL_CACHED_S);
    let about = [
        (header::ETAG, tag.clone()),
        (header::CACHE_CONTROL, format!("public, max-age={left}")),
    ];
    let known = headers.get_all(header::IF_NONE_MATCH).iter();
    if known.flat_map(|value| value.to_str()).any(|value| value.contains(&tag)) {
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
