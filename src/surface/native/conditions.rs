//! Conditions of requests by tags (RFC 9110 §13.1).

use axum::http::{HeaderMap, HeaderValue, header};

use crate::error::{Error, Result};

/// The tag of a revision.
pub(super) fn etag(revision: impl std::fmt::Display) -> Result<HeaderValue> {
    HeaderValue::from_str(&format!("\"{revision}\"")).map_err(|e| Error::internal("that is no tag").because(e))
}

/// The revision that an object must be at; any with `*`.
pub(super) fn expected(headers: &HeaderMap) -> Result<Option<u64>> {
    let Some(value) = headers.get(header::IF_MATCH) else {
        return Ok(None);
    };
    let tag = value.to_str().unwrap_or_default().trim();
    if tag == "*" {
        return Ok(None);
    }
    let revision = tag
        .strip_prefix('"')
        .and_then(|tag| tag.strip_suffix('"'))
        .unwrap_or(tag);
    revision.parse().map(Some).map_err(|_| {
        Error::invalid("that condition is not understood: send `if-match: \"<revision>\"`, as the `etag` has it")
    })
}
