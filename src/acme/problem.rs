//! What an ACME client is told when something is refused (RFC 8555 §6.7): a registered type, a text, and what belongs
//! to some of the types.
//!
//! Rooms speak [`Error`], which has no place for all of this: a problem travels as the cause of one, through the gate,
//! and the surface takes it out again by [`Problem::of`].

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind};

/// The registered error types in use here (RFC 8555 §6.7, RFC 9773 §7.4, the profiles draft), spelt as the URN ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the registry says what each means")]
pub enum ProblemType {
    AccountDoesNotExist,
    AlreadyReplaced,
    AlreadyRevoked,
    #[serde(rename = "badCSR")]
    BadCsr,
    BadNonce,
    BadPublicKey,
    BadRevocationReason,
    BadSignatureAlgorithm,
    Caa,
    Compound,
    Connection,
    Dns,
    ExternalAccountRequired,
    IncorrectResponse,
    InvalidContact,
    InvalidProfile,
    Malformed,
    OrderNotReady,
    RateLimited,
    RejectedIdentifier,
    ServerInternal,
    Tls,
    Unauthorized,
    UnsupportedContact,
    UnsupportedIdentifier,
    UserActionRequired,
}

/// A problem with one identifier of several (RFC 8555 §6.7.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subproblem {
    /// What is wrong.
    #[serde(rename = "type")]
    pub kind: ProblemType,
    /// What to do about it.
    pub detail: String,
    /// `dns` or `ip`.
    pub identifier_type: String,
    /// As the client wrote it.
    pub identifier_value: String,
}

/// Why a client is refused, or what kept a challenge or an order from becoming valid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What is wrong.
    #[serde(rename = "type")]
    pub kind: ProblemType,
    /// What to do about it.
    pub detail: String,
    /// One for each identifier at fault, if there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subproblems: Vec<Subproblem>,
    /// Another status than the type's own.
    #[serde(skip)]
    pub status: Option<u16>,
    /// The id of the account that has the key already (RFC 8555 §7.3.5).
    #[serde(skip)]
    pub account: Option<crate::id::Id>,
}

impl Problem {
    /// A problem of a kind; `detail` follows the house's rules for error texts.
    pub fn new(kind: ProblemType, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            subproblems: Vec::new(),
            status: None,
            account: None,
        }
    }

    /// [`ProblemType::Malformed`].
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(ProblemType::Malformed, detail)
    }

    /// [`ProblemType::Unauthorized`].
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(ProblemType::Unauthorized, detail)
    }

    /// With another status than the type's own.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// Whether a room's error was made from a problem.
    pub(super) fn is_in(error: &Error) -> bool {
        Self::find(error).is_some()
    }

    fn find(error: &Error) -> Option<&Self> {
        let mut cause = std::error::Error::source(error);
        while let Some(at) = cause {
            if let Some(problem) = at.downcast_ref() {
                return Some(problem);
            }
            cause = at.source();
        }
        None
    }

    /// What a room's error is to an ACME client.
    pub fn of(error: &Error) -> Self {
        if let Some(problem) = Self::find(error) {
            return problem.clone();
        }
        let (kind, status) = match error.kind() {
            Kind::Conflict => (ProblemType::Malformed, 409),
            Kind::Denied => (ProblemType::Unauthorized, 403),
            Kind::Internal => (ProblemType::ServerInternal, 500),
            Kind::Invalid => (ProblemType::Malformed, 400),
            Kind::NotFound => (ProblemType::Malformed, 404),
            Kind::RateLimited => (ProblemType::RateLimited, 429),
            Kind::Unauthenticated => (ProblemType::Unauthorized, 401),
            Kind::Unavailable => (ProblemType::ServerInternal, 503),
        };
        Self::new(kind, error.public()).status(status)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Problem {}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        let kind = match problem.kind {
            ProblemType::ExternalAccountRequired | ProblemType::Unauthorized | ProblemType::UserActionRequired => {
                Kind::Denied
            }
            ProblemType::AlreadyReplaced | ProblemType::AlreadyRevoked | ProblemType::OrderNotReady => Kind::Conflict,
            ProblemType::RateLimited => Kind::RateLimited,
            ProblemType::ServerInternal => Kind::Unavailable,
            ProblemType::BadNonce | ProblemType::AccountDoesNotExist => Kind::Unauthenticated,
            _ => Kind::Invalid,
        };
        Self::new(kind, problem.detail.clone()).because(problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_comes_through_a_rooms_error_whole() {
        let problem = Problem::new(ProblemType::BadCsr, "make another").status(418);
        assert_eq!(Problem::of(&Error::from(problem.clone())), problem);
        let internal = Problem::of(&Error::internal("row 7 is broken"));
        assert_eq!(internal.kind, ProblemType::ServerInternal);
        assert!(!internal.detail.contains("row 7"));
    }

    #[test]
    fn types_are_spelt_as_registered() {
        let spelt = |kind| serde_json::to_value(kind).unwrap();
        assert_eq!(spelt(ProblemType::BadCsr), "badCSR");
        assert_eq!(spelt(ProblemType::AccountDoesNotExist), "accountDoesNotExist");
        assert_eq!(spelt(ProblemType::Caa), "caa");
    }
}
