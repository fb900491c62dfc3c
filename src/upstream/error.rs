//! What an ACME server's refusal means for whoever wants to go on.

use std::error::Error as StdError;
use std::time::Duration;

use instant_acme::{Error as ClientError, Problem};

use crate::error::{Error, Kind};

/// A failure at another CA, by what helps against it.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// Somebody has to change the configuration, here or there.
    #[error("{0}")]
    Configuration(String),
    /// The CA refuses this name or request; asking again soon will not help.
    #[error("{0}")]
    Permanent(String),
    /// Too much, too soon.
    #[error("{text}")]
    RateLimited {
        /// What the CA said.
        text: String,
        /// When it may be asked again, if it said so.
        after: Option<Duration>,
    },
    /// The same may work later.
    #[error("{text}")]
    Transient {
        /// What happened.
        text: String,
        /// When the CA wants to be asked again, if it said so.
        after: Option<Duration>,
    },
}

impl From<UpstreamError> for Error {
    fn from(error: UpstreamError) -> Self {
        let (kind, after) = match &error {
            UpstreamError::Configuration(_) => (Kind::Invalid, None),
            UpstreamError::Permanent(_) => (Kind::Conflict, None),
            UpstreamError::RateLimited { after, .. } => (Kind::RateLimited, *after),
            UpstreamError::Transient { after, .. } => (Kind::Unavailable, *after),
        };
        let made = Self::new(kind, error.to_string());
        match after {
            Some(after) => made.retry_after(after),
            None => made,
        }
    }
}

const URN: &str = "urn:ietf:params:acme:error:";

/// The error type's last part, for example `rateLimited`.
pub(super) fn short_type(problem: &Problem) -> &str {
    let full = problem.r#type.as_deref().unwrap_or_default();
    full.strip_prefix(URN).unwrap_or(full)
}

/// Whether `error` is the CA's problem of this type (RFC 8555 §6.7).
pub(super) fn is(error: &ClientError, kind: &str) -> bool {
    matches!(error, ClientError::Api(problem) if short_type(problem) == kind)
}

/// Type, detail and every subproblem in one line.
pub(super) fn describe(problem: &Problem) -> String {
    let mut text = match short_type(problem) {
        "" => format!("status {}", problem.status.unwrap_or_default()),
        kind => kind.to_owned(),
    };
    if let Some(detail) = &problem.detail {
        text.push_str(": ");
        text.push_str(detail.trim_end_matches('.'));
    }
    for sub in &problem.subproblems {
        let kind = sub.r#type.as_deref().unwrap_or_default();
        text.push_str("; ");
        if let Some(identifier) = &sub.identifier {
            text.push_str(&format!("`{}`: ", identifier.clone().authorized(false)));
        }
        text.push_str(kind.strip_prefix(URN).unwrap_or(kind));
        if let Some(detail) = &sub.detail {
            text.push_str(": ");
            text.push_str(detail.trim_end_matches('.'));
        }
    }
    text
}

/// Classes a failure of `what` at issuer `issuer`; `after` is the Retry-After that came with it.
pub(super) fn classify(issuer: &str, what: &str, error: ClientError, after: Option<Duration>) -> UpstreamError {
    let text = |why: &str| format!("issuer `{issuer}` failed at {what}: {why}");
    match error {
        ClientError::Api(problem) => classify_problem(&text(&describe(&problem)), &problem, after),
        ClientError::Timeout(_) => UpstreamError::Transient {
            text: text("it is still working on it"),
            after,
        },
        ClientError::KeyRejected | ClientError::Crypto => {
            UpstreamError::Configuration(text("the stored account key is unusable"))
        }
        ClientError::InvalidUri(e) => UpstreamError::Configuration(text(&format!("its directory has a bad url: {e}"))),
        ClientError::Unsupported(feature) => {
            UpstreamError::Configuration(text(&format!("it does not support {feature}")))
        }
        ClientError::Json(e) => UpstreamError::Transient {
            text: text(&format!("its answer is no ACME answer: {e}")),
            after,
        },
        other => {
            let causes = causes(&other);
            if causes.contains("invalid peer certificate") {
                return UpstreamError::Configuration(text(&format!(
                    "{causes}: its TLS certificate is not trusted, create the issuer with the right `--ca-file`"
                )));
            }
            UpstreamError::Transient {
                text: text(&causes),
                after,
            }
        }
    }
}

/// Classes a problem document that has been described as `text`.
fn classify_problem(text: &str, problem: &Problem, after: Option<Duration>) -> UpstreamError {
    match short_type(problem) {
        "rateLimited" => UpstreamError::RateLimited {
            text: text.to_owned(),
            after,
        },
        "badCSR"
        | "badPublicKey"
        | "badRevocationReason"
        | "alreadyRevoked"
        | "caa"
        | "rejectedIdentifier"
        | "unsupportedIdentifier" => UpstreamError::Permanent(text.to_owned()),
        "accountDoesNotExist"
        | "badSignatureAlgorithm"
        | "externalAccountRequired"
        | "invalidContact"
        | "invalidProfile"
        | "malformed"
        | "unauthorized"
        | "unsupportedContact"
        | "userActionRequired" => UpstreamError::Configuration(text.to_owned()),
        _ if problem.status == Some(429) => UpstreamError::RateLimited {
            text: text.to_owned(),
            after,
        },
        // badNonce that outlasted its retries, serverInternal, connection, dns, tls, and whatever is not known.
        _ => UpstreamError::Transient {
            text: text.to_owned(),
            after,
        },
    }
}

/// The error and every cause, each text once.
fn causes(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(json: &str) -> Problem {
        serde_json::from_str(json).unwrap()
    }

    fn class_of(json: &str) -> Kind {
        Error::from(classify("ca", "the order", ClientError::Api(problem(json)), None)).kind()
    }

    #[test]
    fn problems_are_classed_by_what_helps() {
        for (kind, expected) in [
            ("rateLimited", Kind::RateLimited),
            ("rejectedIdentifier", Kind::Conflict),
            ("invalidProfile", Kind::Invalid),
            ("serverInternal", Kind::Unavailable),
            ("badNonce", Kind::Unavailable),
            ("somethingNew", Kind::Unavailable),
        ] {
            assert_eq!(class_of(&format!(r#"{{"type":"{URN}{kind}"}}"#)), expected, "{kind}");
        }
        assert_eq!(class_of(r#"{"status":429}"#), Kind::RateLimited);
    }

    #[test]
    fn the_text_names_type_detail_and_each_identifier() {
        let problem = problem(
            r#"{"type":"urn:ietf:params:acme:error:rejectedIdentifier","detail":"policy forbids it.","subproblems":[
                {"type":"urn:ietf:params:acme:error:rejectedIdentifier","detail":"blocked",
                 "identifier":{"type":"dns","value":"a.test"}}]}"#,
        );
        let after = Some(Duration::from_secs(7));
        let error = Error::from(classify("ca", "the order", ClientError::Api(problem), after));
        assert_eq!(
            error.public(),
            "issuer `ca` failed at the order: rejectedIdentifier: policy forbids it; `a.test`: rejectedIdentifier: blocked"
        );
    }

    #[test]
    fn a_rate_limit_keeps_its_retry_after() {
        let limited = problem(r#"{"type":"urn:ietf:params:acme:error:rateLimited"}"#);
        let error = Error::from(classify(
            "ca",
            "x",
            ClientError::Api(limited),
            Some(Duration::from_secs(90)),
        ));
        assert_eq!(error.retry_in(), Some(Duration::from_secs(90)));
    }
}
