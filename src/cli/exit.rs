//! Exit codes and the failures that lead to them. The codes are a contract with scripts (`docs/cli.md`).

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use crate::client;
use crate::error;
use crate::x509::X509Error;

/// Shorthand for this room's results.
pub(super) type Result<T, E = Failure> = std::result::Result<T, E>;

/// What the program ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// Done, or nothing to do.
    Ok = 0,
    /// Anything that no other code says.
    Error = 1,
    /// The command line, the settings or a local file is wrong.
    Usage = 2,
    /// There is no such thing, or the caller may not know that there is.
    NotFound = 3,
    /// The caller is not known, or may not do this.
    Denied = 4,
    /// The state of the object does not allow it.
    Conflict = 5,
    /// The service, or a part that it needs, is not reachable now.
    Unreachable = 6,
    /// It was done, and the outcome is bad: a log that does not verify.
    CheckFailed = 7,
    /// By Ctrl-C.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not succeed: a text for people, a code for scripts.
#[derive(Debug)]
pub(super) struct Failure {
    exit: Exit,
    message: String,
    request_id: Option<String>,
    retry_after: Option<Duration>,
}

impl Failure {
    /// A failure with this code. The text is lower case, without a full stop, and says what to do.
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            request_id: None,
            retry_after: None,
        }
    }

    /// [`Exit::Error`].
    pub(super) fn error(message: impl Into<String>) -> Self {
        Self::new(Exit::Error, message)
    }

    /// [`Exit::Usage`].
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// What the program ends with.
    pub(super) fn exit(&self) -> Exit {
        self.exit
    }

    /// The text for people.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// Says it on stderr.
    pub(super) fn tell(&self) {
        let mut stderr = io::stderr().lock();
        let word = if stderr.is_terminal() && super::output::colours() {
            "\u{1b}[1;31merror\u{1b}[0m"
        } else {
            "error"
        };
        let mut text = format!("{word}: {}", super::output::printable(&self.message));
        if let Some(after) = self.retry_after {
            text.push_str(&format!(" (try again in {} s)", after.as_secs()));
        }
        if let Some(id) = &self.request_id {
            text.push_str(&format!(" (request {})", super::output::printable(id)));
        }
        // Nothing is left to do if stderr is gone.
        let _ = writeln!(stderr, "{text}");
    }
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Self {
        let exit = match error.kind() {
            client::Kind::Local => Exit::Usage,
            client::Kind::Protocol => Exit::Error,
            client::Kind::Unreachable => Exit::Unreachable,
            client::Kind::Refused(kind) => of_kind(kind),
        };
        Self {
            exit,
            message: error.to_string(),
            request_id: error.request_id().map(str::to_owned),
            retry_after: error.retry_in(),
        }
    }
}

impl From<error::Error> for Failure {
    fn from(error: error::Error) -> Self {
        let exit = match error.kind() {
            // It was found here, in what the caller gave.
            error::Kind::Invalid => Exit::Usage,
            kind => of_kind(kind),
        };
        Self {
            exit,
            message: error.public().to_owned(),
            request_id: None,
            retry_after: error.retry_in(),
        }
    }
}

impl From<X509Error> for Failure {
    fn from(error: X509Error) -> Self {
        Self::error(error.to_string())
    }
}

/// What a refusal of the service means to a script.
fn of_kind(kind: error::Kind) -> Exit {
    match kind {
        error::Kind::Internal | error::Kind::Invalid | error::Kind::RateLimited => Exit::Error,
        error::Kind::NotFound => Exit::NotFound,
        error::Kind::Denied | error::Kind::Unauthenticated => Exit::Denied,
        error::Kind::Conflict => Exit::Conflict,
        error::Kind::Unavailable => Exit::Unreachable,
    }
}
