//! Bodies, queries and cursors of requests, with refusals that say what is wrong.

use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::surface::frame::Failure;
use crate::wire::PageQuery;

/// The largest body, in bytes: a secret of 64 KiB whose every byte is written as a JSON escape, and some more.
const LARGEST: usize = 512 * 1024;

/// A JSON body. SECURITY: a refusal says where the body is wrong and never repeats what stands there, which may be a
/// value that someone put into the wrong place.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let is_json = kind.and_then(|kind| kind.to_str().ok()).is_some_and(|kind| {
            let essence = kind.split(';').next().unwrap_or_default().trim();
            essence.eq_ignore_ascii_case("application/json")
        });
        if !is_json {
            return Err(Error::invalid("the body is not JSON: send it as `content-type: application/json`").into());
        }
        let bytes = axum::body::to_bytes(request.into_body(), LARGEST).await.map_err(|e| {
            Error::invalid(format!("the body cannot be read whole: send at most {LARGEST} bytes")).because(e)
        })?;
        // Serde would take an array for the fields in their order.
        if bytes.iter().find(|b| !b.is_ascii_whitespace()) != Some(&b'{') {
            return Err(Error::invalid("the body is no JSON object: send the fields by their names").into());
        }
        let parsed = serde_json::from_slice(&bytes).map_err(|e| {
            let what = match e.classify() {
                serde_json::error::Category::Data => "has a field that is missing, unknown or of the wrong kind",
                serde_json::error::Category::Eof
                | serde_json::error::Category::Io
                | serde_json::error::Category::Syntax => "is not well-formed JSON",
            };
            Error::invalid(format!("the body {what} at line {}, column {}", e.line(), e.column()))
        })?;
        Ok(Self(parsed))
    }
}

/// No body, on a path that takes none.
pub(super) struct NoBody;

impl<S: Send + Sync> FromRequest<S> for NoBody {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        match axum::body::to_bytes(request.into_body(), 0).await {
            Ok(_) => Ok(Self),
            Err(_) => Err(Error::invalid("this path takes no body: send none").into()),
        }
    }
}

/// A query.
pub(super) struct InQuery<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for InQuery<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(query)) => Ok(Self(query)),
            Err(rejection) => Err(Error::invalid(format!("the query is wrong: {}", rejection.body_text())).into()),
        }
    }
}

/// Where a list goes on. Cursors are opaque to callers; in this API they are the key of the last row.
pub(super) fn cursor<C: std::str::FromStr>(query: &PageQuery) -> Result<Option<C>, Failure> {
    let Some(cursor) = &query.cursor else { return Ok(None) };
    match cursor.parse() {
        Ok(cursor) => Ok(Some(cursor)),
        Err(_) => Err(Error::invalid("the cursor is none of ours: give the `next` of the page before").into()),
    }
}

/// The status of what was made.
pub(super) fn created<T>(made: T) -> (StatusCode, axum::Json<T>) {
    (StatusCode::CREATED, axum::Json(made))
}
