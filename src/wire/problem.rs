//! Failures: RFC 9457 problem documents.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind};

/// The media type of a [`Problem`].
pub const PROBLEM_JSON: &str = "application/problem+json";

/// A failure as the caller sees it (RFC 9457 §3). Programs act on `kind`, people read `detail`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// RFC 9457 §3.1.1; always `about:blank`, because `kind` says more than a status and less than a manual.
    #[serde(rename = "type")]
    pub type_: Cow<'static, str>,
    /// The HTTP status in words.
    pub title: Cow<'static, str>,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong and what to do.
    pub detail: String,
    /// What programs act on: `conflict`, `denied`, `internal`, `invalid`, `not_found`, `rate_limited`,
    /// `unauthenticated` or `unavailable`.
    pub kind: Cow<'static, str>,
    /// The request's id, which is in the audit record and the log too.
    pub request_id: String,
    /// After how many seconds the same request may be tried again; also in the header `retry-after`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
}

impl Problem {
    /// The problem that tells `error` to a stranger. An internal error's text is not in it.
    pub fn new(error: &Error, request_id: impl Into<String>) -> Self {
        let (kind, status, title) = spell(error.kind());
        Self {
            type_: Cow::Borrowed("about:blank"),
            title: Cow::Borrowed(title),
            status,
            detail: error.public().to_owned(),
            kind: Cow::Borrowed(kind),
            request_id: request_id.into(),
            retry_after_s: error.retry_in().map(|after| after.as_secs().max(1)),
        }
    }

    /// The kind, if it is one that we know.
    pub fn kind(&self) -> Option<Kind> {
        KINDS.into_iter().find(|kind| spell(*kind).0 == self.kind)
    }
}

const KINDS: [Kind; 8] = [
    Kind::Conflict,
    Kind::Denied,
    Kind::Internal,
    Kind::Invalid,
    Kind::NotFound,
    Kind::RateLimited,
    Kind::Unauthenticated,
    Kind::Unavailable,
];

/// The one spelling of our kinds in HTTP's words.
fn spell(kind: Kind) -> (&'static str, u16, &'static str) {
    match kind {
        Kind::Conflict => ("conflict", 409, "Conflict"),
        Kind::Denied => ("denied", 403, "Forbidden"),
        Kind::Internal => ("internal", 500, "Internal Server Error"),
        Kind::Invalid => ("invalid", 400, "Bad Request"),
        Kind::NotFound => ("not_found", 404, "Not Found"),
        Kind::RateLimited => ("rate_limited", 429, "Too Many Requests"),
        Kind::Unauthenticated => ("unauthenticated", 401, "Unauthorized"),
        Kind::Unavailable => ("unavailable", 503, "Service Unavailable"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_kind_comes_back_from_the_wire() {
        for kind in KINDS {
            let problem = Problem::new(&Error::new(kind, "do this"), "r1");
            let back: Problem = serde_json::from_str(&serde_json::to_string(&problem).unwrap()).unwrap();
            assert_eq!(back.kind(), Some(kind));
            assert_eq!(back, problem);
        }
    }

    #[test]
    fn says_when_to_come_back_and_hides_what_is_ours() {
        let busy = Error::unavailable("the token is busy: try again").retry_after(Duration::from_millis(200));
        assert_eq!(
            serde_json::to_value(Problem::new(&busy, "r1")).unwrap(),
            serde_json::json!({
                "type": "about:blank", "title": "Service Unavailable", "status": 503, "kind": "unavailable",
                "detail": "the token is busy: try again", "request_id": "r1", "retry_after_s": 1,
            })
        );
        assert!(!Problem::new(&Error::internal("row 7"), "r1").detail.contains("row 7"));
    }
}
