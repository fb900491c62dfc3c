//! What every answer of the ACME server has: a fresh nonce, the link to the directory, and problems in ACME's words
//! (RFC 8555 §6.5, §6.7, §7.1).

use axum::Extension;
use axum::extract::{FromRequestParts, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tracing::error;

use super::urls::Urls;
use crate::acme::{Algorithm, Problem, ProblemType};
use crate::error::{Error, Kind};
use crate::surface::Shared;
use crate::surface::frame::Failure;

pub(super) const REPLAY_NONCE: HeaderName = HeaderName::from_static("replay-nonce");
const PROBLEM_JSON: &str = "application/problem+json";

/// The layer around every route here.
pub(super) async fn frame(Extension(services): Extension<Shared>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let urls = Urls::from_request_parts(&mut parts, &services).await;
    let method = parts.method.clone();
    let mut response = next.run(Request::from_parts(parts, body)).await;
    // Without a server there are no words of its own: as anywhere else.
    let Ok(urls) = urls else { return response };
    if let Some(failure) = response.extensions_mut().remove::<Failure>() {
        if failure.error().kind() == Kind::Internal {
            error!("a request failed: {}", failure.error().detail());
        }
        response = problem(&urls, failure.error());
    } else if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        let how = if method == Method::POST {
            "this path is looked at by a plain GET (RFC 9773 §4.1)"
        } else {
            "this path takes signed POST requests only (RFC 8555 §6.3)"
        };
        let wrong = Problem::malformed(how).status(405);
        let allow = response.headers().get(header::ALLOW).cloned();
        response = problem(&urls, &wrong.into());
        if let Some(allow) = allow {
            response.headers_mut().insert(header::ALLOW, allow);
        }
    }
    let headers = response.headers_mut();
    if urls.requested != urls.directory() {
        link(headers, &urls.directory(), "index");
    }
    if method == Method::POST
        && let Ok(nonce) = HeaderValue::from_str(&urls.acme.nonce())
    {
        headers.insert(REPLAY_NONCE, nonce);
    }
    // Scripts of any page may be clients (RFC 8555 §6.1).
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("Link, Location, Replay-Nonce, Retry-After"),
    );
    response
}

/// Adds a link (RFC 8288).
pub(super) fn link(headers: &mut HeaderMap, url: &str, relation: &str) {
    if let Ok(value) = HeaderValue::from_str(&format!("<{url}>;rel=\"{relation}\"")) {
        headers.append(header::LINK, value);
    }
}

/// Gives an object one more member.
pub(super) fn set(document: &mut Value, name: &str, value: Value) {
    if let Some(members) = document.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}

/// The URN of a type (RFC 8555 §6.7).
fn urn(kind: ProblemType) -> String {
    let name = serde_json::to_value(kind).unwrap_or_default();
    format!(
        "urn:ietf:params:acme:error:{}",
        name.as_str().unwrap_or("serverInternal")
    )
}

/// A problem as JSON, as it stands in challenges and orders too.
pub(super) fn spell(problem: &Problem) -> Value {
    let mut document = json!({"type": urn(problem.kind), "detail": problem.detail, "status": status(problem)});
    let subproblems = problem.subproblems.iter().map(|one| {
        let identifier = json!({"type": one.identifier_type, "value": one.identifier_value});
        json!({"type": urn(one.kind), "detail": one.detail, "identifier": identifier})
    });
    if problem.subproblems.len() > 1 {
        set(&mut document, "subproblems", subproblems.collect());
    }
    if problem.kind == ProblemType::BadSignatureAlgorithm {
        set(&mut document, "algorithms", json!(Algorithm::NAMES));
    }
    document
}

fn status(problem: &Problem) -> u16 {
    problem.status.unwrap_or(match problem.kind {
        ProblemType::ExternalAccountRequired
        | ProblemType::OrderNotReady
        | ProblemType::Unauthorized
        | ProblemType::UserActionRequired => 403,
        ProblemType::AlreadyReplaced => 409,
        ProblemType::RateLimited => 429,
        ProblemType::ServerInternal => 500,
        _ => 400,
    })
}

fn problem(urls: &Urls, error: &Error) -> Response {
    let problem = Problem::of(error);
    let status = StatusCode::from_u16(status(&problem)).unwrap_or(StatusCode::BAD_REQUEST);
    let mut document = spell(&problem);
    // Where a person is to go (RFC 8555 §7.3.3).
    let terms = urls.acme.settings().terms_of_service.as_ref();
    let terms = terms.filter(|_| problem.kind == ProblemType::UserActionRequired);
    if let Some(terms) = terms {
        set(&mut document, "instance", json!(terms));
    }
    let body = document.to_string();
    let mut response = (status, [(header::CONTENT_TYPE, PROBLEM_JSON)], body).into_response();
    let headers = response.headers_mut();
    if let Some(after) = error.retry_in() {
        headers.insert(header::RETRY_AFTER, after.as_secs().max(1).into());
    }
    if let Some(account) = problem.account
        && let Ok(location) = HeaderValue::from_str(&urls.account(account))
    {
        headers.insert(header::LOCATION, location);
    }
    if let Some(terms) = terms {
        link(headers, terms, "terms-of-service");
    }
    // RFC 8555 §6.6.
    if problem.kind == ProblemType::RateLimited {
        link(headers, &urls.help, "help");
    }
    response
}
