//! What can go wrong between a client and the service.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use super::Settings;
use crate::error::{self, BoxError};
use crate::wire::Problem;

/// Shorthand for this room's results.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a program may act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Something here, before any request: an address, a file.
    Local,
    /// Whatever answered does not speak our protocol.
    Protocol,
    /// The service said no.
    Refused(error::Kind),
    /// The service was not reached, or its answer did not arrive.
    Unreachable,
}

/// An error with a text for people: what is wrong and what to do.
pub struct Error {
    kind: Kind,
    message: String,
    status: Option<u16>,
    request_id: Option<String>,
    retry_after: Option<Duration>,
    source: Option<BoxError>,
}

impl Error {
    /// An error of `kind`.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            status: None,
            request_id: None,
            retry_after: None,
            source: None,
        }
    }

    /// [`Kind::Local`].
    pub fn local(message: impl Into<String>) -> Self {
        Self::new(Kind::Local, message)
    }

    /// Keeps the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Notes the answer's status and request id.
    #[must_use]
    pub(super) fn answered(mut self, status: Option<u16>, request_id: Option<String>) -> Self {
        self.status = status;
        self.request_id = request_id;
        self
    }

    /// What a program may act on.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The answer's HTTP status, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// The request's id, which the service's log and audit log know it by.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// When the same request may be tried again, if the service said so.
    pub fn retry_in(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether the same request may work later, without anybody changing it.
    pub fn is_transient(&self) -> bool {
        match self.kind {
            Kind::Local => false,
            Kind::Protocol => self.status.is_some_and(|status| status >= 500),
            Kind::Unreachable => true,
            Kind::Refused(kind) => match kind {
                error::Kind::Internal | error::Kind::RateLimited | error::Kind::Unavailable => true,
                error::Kind::Conflict
                | error::Kind::Denied
                | error::Kind::Invalid
                | error::Kind::NotFound
                | error::Kind::Unauthenticated => false,
            },
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// The error that a problem document tells.
pub(super) fn from_problem(problem: Problem, retry_after: Option<Duration>) -> Error {
    let kind = problem.kind().map_or(Kind::Protocol, Kind::Refused);
    let mut error = Error::new(kind, problem.detail).answered(Some(problem.status), Some(problem.request_id));
    error.retry_after = problem.retry_after_s.map(Duration::from_secs).or(retry_after);
    error
}

/// The error that a failed exchange means, with the address and what to do.
pub(super) fn unreachable(settings: &Settings, error: reqwest::Error) -> Error {
    let address = &settings.address;
    let message = if let Some(tls) = find::<rustls::Error>(&error) {
        explain_tls(settings, tls)
    } else if error.is_timeout() {
        format!("`{address}` did not answer in time: the service may be overloaded; try again")
    } else {
        let cause = root_cause(&error);
        format!("cannot reach `{address}`: {cause}: check that the service runs and that CHANCERY_ADDR is its address")
    };
    // The URL would repeat names and ids; the message has the address.
    Error::new(Kind::Unreachable, message).because(error.without_url())
}

fn explain_tls(settings: &Settings, error: &rustls::Error) -> String {
    let address = &settings.address;
    match error {
        // A root of the same name with another key, such as another installation's, shows as a bad signature.
        rustls::Error::InvalidCertificate(
            rustls::CertificateError::UnknownIssuer | rustls::CertificateError::BadSignature,
        ) => format!(
            "the certificate of `{address}` does not lead to a root in `{}`: give this service's roots by --cacert or CHANCERY_CACERT",
            settings.roots.display()
        ),
        rustls::Error::InvalidCertificate(why) => format!(
            "the certificate of `{address}` is not accepted: {why}: call the service by a name in its certificate, and check both clocks"
        ),
        rustls::Error::AlertReceived(alert) => format!(
            "`{address}` ended the handshake: {alert:?}: check the client certificate in {}",
            settings.identity.as_ref().map_or_else(
                || "CHANCERY_CLIENT_CERT".to_owned(),
                |files| format!("`{}`", files.certificate.display())
            )
        ),
        other => format!("no secure connection to `{address}`: {other}: check that a TLS service listens there"),
    }
}

/// The first `E` among an error and its causes, also within I/O errors.
fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(found) = inner.and_then(|inner| find::<E>(inner)) {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The innermost cause's text: the one that says something.
fn root_cause(error: &(dyn StdError + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    let text = last.to_string();
    // `Connection refused (os error 111)`
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars
        .next()
        .map(|first| first.to_lowercase().chain(chars).collect())
        .unwrap_or_default()
}
