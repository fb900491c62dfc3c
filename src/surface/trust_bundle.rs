//! `/trust-bundle`: what to trust our certificates by, as PEM, as JSON in our own words, and in SPIFFE's format
//! (SPIFFE Trust Domain and Bundle §4). Whoever follows it goes through every rotation without a break.

use aws_lc_rs::digest;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Shared;
use super::frame::Failure;
use super::public::knows;
use crate::ca::{BundleCertificate, TrustBundle};
use crate::error::{Error, Result};
use crate::id::Label;
use crate::wire;
use crate::x509::key::PublicKey;
use crate::x509::{jwk, pem};

/// JSON Web Key Sets (RFC 7517 §8.5.2), which SPIFFE's bundles are.
const JWK_SET: &str = "application/jwk-set+json";

/// A form of the bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    Json,
    Pem,
    Spiffe,
}

#[derive(Deserialize)]
pub(super) struct Asked {
    /// Of which authority; the service's own if none is named.
    authority: Option<Label>,
    format: Option<Format>,
}

impl Format {
    /// What the asker would rather have; the first that we know.
    fn accepted(headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(header::ACCEPT).iter();
        let kinds = accepted
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));
        let mut known = kinds.filter_map(|kind| match kind.split(';').next().unwrap_or_default().trim() {
            "application/json" => Some(Self::Json),
            JWK_SET => Some(Self::Spiffe),
            "application/pem-certificate-chain" | "application/x-pem-file" => Some(Self::Pem),
            _ => None,
        });
        known.next().unwrap_or(Self::Pem)
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Pem => "application/pem-certificate-chain",
            Self::Spiffe => JWK_SET,
        }
    }

    fn spell(self, bundle: &TrustBundle) -> Result<String> {
        match self {
            Self::Json => {
                let spelled = wire::TrustBundle {
                    sequence: bundle.sequence,
                    refresh_hint_s: bundle.refresh_hint.as_secs(),
                    roots: bundle.roots.iter().map(spell).collect(),
                    issuers: bundle.issuers.iter().map(spell).collect(),
                };
                serde_json::to_string(&spelled).map_err(|e| Error::internal("a bundle has no JSON").because(e))
            }
            Self::Pem => {
                let roots: Vec<&[u8]> = bundle.roots.iter().map(|root| root.certificate.as_slice()).collect();
                Ok(pem::encode_chain(&roots))
            }
            Self::Spiffe => {
                let keys = bundle.roots.iter().map(key).collect::<Result<Vec<Value>>>()?;
                let set = json!({
                    "keys": keys,
                    "spiffe_sequence": bundle.sequence,
                    "spiffe_refresh_hint": bundle.refresh_hint.as_secs(),
                });
                Ok(set.to_string())
            }
        }
    }
}

fn spell(one: &BundleCertificate) -> wire::Trusted {
    wire::Trusted {
        authority: one.authority.clone(),
        label: one.label.clone(),
        stage: one.stage.to_string(),
        not_after: one.not_after,
        certificate_pem: pem::encode_chain(&[&one.certificate]),
    }
}

fn key(root: &BundleCertificate) -> Result<Value> {
    let mut members = jwk::members(&PublicKey::from_spki(&root.spki)?)?;
    members.insert("use".to_owned(), "x509-svid".into());
    members.insert("x5c".to_owned(), json!([STANDARD.encode(&root.certificate)]));
    Ok(members.into())
}

pub(super) async fn show(
    State(services): State<Shared>,
    asked: Result<Query<Asked>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let Query(asked) =
        asked.map_err(|_| Error::invalid("`format` is `pem`, `json` or `spiffe`, `authority` a name"))?;
    let format = asked.format.unwrap_or_else(|| Format::accepted(&headers));
    let bundle = services.authority.trust_bundle(asked.authority.as_ref()).await?;
    let body = format.spell(&bundle)?;
    // RFC 9110 §8.8.1: of these bytes and no others.
    let tag = format!("\"{}\"", hex::encode(digest::digest(&digest::SHA256, body.as_bytes())));
    let about = [
        (header::ETAG, tag.clone()),
        (header::VARY, header::ACCEPT.to_string()),
        (
            header::CACHE_CONTROL,
            format!("public, max-age={}", bundle.refresh_hint.as_secs()),
        ),
    ];
    if knows(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, about).into_response());
    }
    Ok((about, [(header::CONTENT_TYPE, format.content_type())], body).into_response())
}
