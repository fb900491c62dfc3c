//! The one error that rooms from floor 2 up speak.
//!
//! `kind` is what programs act on, `public` is what a stranger may read, `source` is ours and goes to the log only.
//! Leaf rooms (`hsm`, `x509`, `store`) have small enums of their own and are turned into this one by the room that
//! knows what the failure means to its user.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

/// A cause that is kept for the log.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// Shorthand for this crate's results.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a program may act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The state of the object does not allow it (exists already, wrong version, not empty).
    Conflict,
    /// The caller is known and may not do this.
    Denied,
    /// A fault of ours; its text is never shown.
    Internal,
    /// The request is wrong and will stay wrong.
    Invalid,
    /// There is no such thing, or the caller may not know that there is.
    NotFound,
    /// Too much, too soon.
    RateLimited,
    /// Who is calling is not established.
    Unauthenticated,
    /// A part that we need is not reachable now; the same request may work later.
    Unavailable,
}

/// An error with a text for strangers and a cause for us.
pub struct Error {
    kind: Kind,
    public: Cow<'static, str>,
    retry_after: Option<Duration>,
    source: Option<BoxError>,
}

impl Error {
    /// An error of `kind`; `public` is lower case, without a full stop, with user input in backticks, and says what
    /// to do.
    pub fn new(kind: Kind, public: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            public: public.into(),
            retry_after: None,
            source: None,
        }
    }

    /// [`Kind::Conflict`].
    pub fn conflict(public: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Conflict, public)
    }

    /// [`Kind::Denied`].
    pub fn denied(public: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Denied, public)
    }

    /// [`Kind::Internal`]: the text is for the log.
    pub fn internal(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Internal, text)
    }

    /// [`Kind::Invalid`].
    pub fn invalid(public: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Invalid, public)
    }

    /// [`Kind::NotFound`].
    pub fn not_found(public: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::NotFound, public)
    }

    /// [`Kind::Unauthenticated`].
    pub fn unauthenticated(public: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Unauthenticated, public)
    }

    /// [`Kind::Unavailable`].
    pub fn unavailable(public: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Unavailable, public)
    }

    /// Keeps the cause for the log.
    #[must_use]
    pub fn because(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Says when the same request may be tried again.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// What programs act on.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What a stranger may read. An internal error's own text is never among it.
    pub fn public(&self) -> &str {
        match self.kind {
            Kind::Internal => "internal error; the server's log has the request id and the cause",
            _ => &self.public,
        }
    }

    /// When the same request may be tried again, if that is known.
    pub fn retry_in(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The text and every cause, for the log and for people on the host.
    pub fn detail(&self) -> String {
        let mut text = self.public.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let said = error.to_string();
            // Many an error repeats the one that it was made from.
            if !text.ends_with(&said) {
                text.push_str(": ");
                text.push_str(&said);
            }
            cause = error.source();
        }
        text
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.detail())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.public)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_internal_error_keeps_its_text_for_the_log() {
        let error = Error::internal("row 7 of table x is broken").because(std::io::Error::other("disk"));
        assert!(!error.public().contains("row 7"));
        assert_eq!(error.detail(), "row 7 of table x is broken: disk");
        let twice = Error::unavailable("gone").because(std::io::Error::other("gone"));
        assert_eq!(twice.detail(), "gone");
    }
}
