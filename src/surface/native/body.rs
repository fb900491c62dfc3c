//! Bodies, queries and cursors of requests, with refusals that say what is wrong.

use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::Error;
use crate::surface::frame::Failure;
use crate::wire::{self, PageQuery};

/// The largest body, in bytes: a secret of 64 KiB whose every byte is written as a JSON escape, and some more.
const LARGEST: usize = 512 * 1024;

/// SECURITY: a backup is long and is read before it is known whether the caller may restore it: so many at a time, the
/// others wait.
static RESTORES: Semaphore = Semaphore::const_new(4);

/// A JSON body.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        parse(request, LARGEST, ToString::to_string).await.map(Self)
    }
}

/// The backup of an object, which is longer than other bodies, and its turn: to be held until it is restored.
pub(super) struct RestoreBody(pub(super) wire::Restore, pub(super) SemaphorePermit<'static>);

impl<S: Send + Sync> FromRequest<S> for RestoreBody {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let turn = RESTORES
            .acquire()
            .await
            .map_err(|e| Error::internal("no backups are restored any more").because(e))?;
        // As base64, and some more.
        let largest = wire::BACKUP_MAX_BYTES / 3 * 4 + 1024;
        let asked = parse(request, largest, ToString::to_string).await?;
        Ok(Self(asked, turn))
    }
}

/// A JSON body with a secret in it. SECURITY: a refusal says where the body is wrong and never repeats what stands
/// there, which may be a value that someone put into the wrong place.
pub(super) struct SecretBody<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for SecretBody<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let place = |e: &serde_json::Error| {
            let what = match e.classify() {
                Category::Data => "a field is missing, unknown or of the wrong kind",
                Category::Eof | Category::Io | Category::Syntax => "it is not well-formed JSON",
            };
            format!("{what} at line {} column {}", e.line(), e.column())
        };
        parse(request, LARGEST, place).await.map(Self)
    }
}

async fn parse<T: DeserializeOwned>(
    request: Request,
    largest: usize,
    what: impl Fn(&serde_json::Error) -> String + Send,
) -> Result<T, Failure> {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let is_json = kind.and_then(|kind| kind.to_str().ok()).is_some_and(|kind| {
        let essence = kind.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("application/json")
    });
    if !is_json {
        return Err(Error::invalid("the body is not JSON: send it as `content-type: application/json`").into());
    }
    let bytes = axum::body::to_bytes(request.into_body(), largest).await.map_err(|e| {
        Error::invalid(format!("the body cannot be read whole: send at most {largest} bytes")).because(e)
    })?;
    // Serde would take an array for the fields in their order.
    if bytes.iter().find(|b| !b.is_ascii_whitespace()) != Some(&b'{') {
        return Err(Error::invalid("the body is no JSON object: send the fields by their names").into());
    }
    serde_json::from_slice(&bytes)
        .map_err(|e| Error::invalid(format!("the body is not what this path takes: {}", what(&e))).into())
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

/// The cursor behind a full page.
pub(super) fn next<T>(query: &PageQuery, rows: &[T], key: impl Fn(&T) -> String) -> Option<String> {
    let full = u32::try_from(rows.len()).is_ok_and(|len| len >= query.limit());
    rows.last().filter(|_| full).map(key)
}

/// The status of what was made.
pub(super) fn created<T>(made: T) -> (StatusCode, axum::Json<T>) {
    (StatusCode::CREATED, axum::Json(made))
}
