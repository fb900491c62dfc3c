//! What every request gets, whatever its route: an id, a bound on its time, a log line and a count, and its failure as
//! a problem document.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::field::Empty;
use tracing::{Instrument, debug, error, info_span};

use super::Shared;
use crate::error::{Error, Kind};
use crate::id::Id;
use crate::identity::RequestRef;
use crate::wire::{PROBLEM_JSON, Problem, REQUEST_ID, TRACEPARENT};

/// The longest that a request may take. What it changes goes on (see [`super::perform`]); its answer is lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// What names a request, in its extensions.
#[derive(Clone, Copy)]
pub(super) struct RequestId(pub(super) RequestRef);

/// A failed request. Rendered by [`frame`], which alone knows the request's id.
#[derive(Clone)]
pub(super) struct Failure(Arc<Error>);

impl Failure {
    /// Why.
    pub(super) fn error(&self) -> &Error {
        &self.0
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(Arc::new(error))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// The outermost layer.
pub(super) async fn frame(State(services): State<Shared>, mut request: Request, next: Next) -> Response {
    let begun = services.gate.clock().now_millis();
    let id = match request_id(request.headers()) {
        Some(id) => id,
        None => match Id::ordered(&**services.gate.entropy(), begun) {
            Ok(id) => id,
            Err(error) => return problem(&error, ""),
        },
    };
    let id_text = id.to_string();
    let trace = trace(request.headers());
    request.extensions_mut().insert(RequestId(RequestRef { id, trace }));
    let method = request.method().clone();
    let path = request.extensions().get::<MatchedPath>().cloned();
    let path = path.as_ref().map_or("", MatchedPath::as_str);

    let span = info_span!("request", request.id = %id_text, trace.id = Empty, http.method = %method, http.route = path);
    if let Some(trace) = trace {
        span.record("trace.id", trace.to_string());
    }
    let answered = tokio::time::timeout(PATIENCE, next.run(request).instrument(span.clone())).await;
    let mut response = answered.unwrap_or_else(|_| {
        Failure::from(Error::unavailable(
            "the request took too long: look whether it took effect before you try again",
        ))
        .into_response()
    });
    if let Some(Failure(error)) = response.extensions_mut().remove::<Failure>() {
        if error.kind() == Kind::Internal {
            span.in_scope(|| error!("request `{id_text}` failed: {}", error.detail()));
        }
        response = problem(&error, &id_text);
    } else if response.status() == StatusCode::METHOD_NOT_ALLOWED
        && response
            .headers()
            .get(header::CONTENT_TYPE)
            .is_none_or(|kind| kind != PROBLEM_JSON)
    {
        response = wrong_method(response, &id_text);
    }
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id_text) {
        headers.insert(REQUEST_ID, id);
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    let took = services.gate.clock().now_millis().saturating_sub(begun);
    services.metrics.request(&method, path, response.status(), took);
    span.in_scope(|| debug!(status = response.status().as_u16(), took_ms = took, "answered"));
    response
}

/// The caller's own id for the request, if it gave one of our form.
fn request_id(headers: &HeaderMap) -> Option<Id> {
    headers.get(REQUEST_ID)?.to_str().ok()?.parse().ok()
}

/// The trace-id that a caller sent, if its `traceparent` is one (W3C Trace Context §3.2): of version 00, or of a later one
/// whose beginning is the same. What is not one is passed over, as the standard asks.
fn trace(headers: &HeaderMap) -> Option<Id> {
    let mut sent = headers.get_all(TRACEPARENT).iter();
    let (Some(only), None) = (sent.next(), sent.next()) else {
        return None;
    };
    let lower_hex = |part: &str, long: usize| {
        part.len() == long && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let mut parts = only.to_str().ok()?.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let formed = lower_hex(version, 2) && lower_hex(trace, 32) && lower_hex(parent, 16) && lower_hex(flags, 2);
    let known = version != "ff" && (version != "00" || parts.next().is_none());
    let named = [trace, parent].iter().all(|id| id.bytes().any(|byte| byte != b'0'));
    if formed && known && named {
        trace.parse().ok()
    } else {
        None
    }
}

/// The router's own answer, which has the header `allow` (RFC 9110 §15.5.6), with a problem as its body.
fn wrong_method(mut answer: Response, id: &str) -> Response {
    let error = Error::invalid("this path does not take that method: see the header `allow`");
    let problem = Problem {
        status: StatusCode::METHOD_NOT_ALLOWED.as_u16(),
        title: "Method Not Allowed".into(),
        ..Problem::new(&error, id)
    };
    let headers = answer.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    *answer.body_mut() = serde_json::to_vec(&problem).unwrap_or_default().into();
    answer
}

/// RFC 9457.
fn problem(error: &Error, id: &str) -> Response {
    let problem = Problem::new(error, id);
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let retry_after = problem.retry_after_s;
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let mut response = (status, [(header::CONTENT_TYPE, PROBLEM_JSON)], body).into_response();
    if let Some(after) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, after.into());
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_counts_if_it_is_one() {
        const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
        let seen = |sent: &[String]| {
            let mut headers = HeaderMap::new();
            for one in sent {
                headers.append(TRACEPARENT, HeaderValue::from_str(one).unwrap());
            }
            trace(&headers).map(|id| id.to_string())
        };
        let good = format!("00-{TRACE}-00f067aa0ba902b7-01");
        for taken in [good.clone(), format!("cc-{TRACE}-00f067aa0ba902b7-01-what-comes-later")] {
            assert_eq!(seen(&[taken]).as_deref(), Some(TRACE));
        }
        let zeros = "0".repeat(32);
        for passed_over in [
            String::new(),
            TRACE.to_owned(),
            format!("{good}-more"),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{zeros}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-00f067aa0ba902b7"),
            format!("00-{TRACE}-00f067aa0ba902b7-1"),
            format!("0-{TRACE}-00f067aa0ba902b7-01"),
        ] {
            assert_eq!(seen(std::slice::from_ref(&passed_over)), None, "{passed_over}");
        }
        assert_eq!(seen(&[good.clone(), good]), None);
        assert_eq!(seen(&[]), None);
    }
}
