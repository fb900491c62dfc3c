//! What can go wrong for an agent.

use std::path::PathBuf;
use std::time::Duration;

use crate::client;
use crate::clock::Timestamp;

/// Shorthand for this room's results.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a program may act on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The service answered something that cannot be used.
    #[error("{0}")]
    Answer(String),
    /// The certificate's time is over and no new one was given.
    #[error(
        "the certificate of `{identity}` has expired at {at}: enrol again with a new join token or another credential (last \
         attempt: {why})"
    )]
    Expired {
        /// The SPIFFE ID.
        identity: String,
        /// When.
        at: Timestamp,
        /// What the last attempt met.
        why: String,
    },
    /// The folder cannot be used.
    #[error("{what} `{}`: {why}", path.display())]
    Folder {
        /// What was tried, as in "cannot write".
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system says, or what to do.
        why: String,
    },
    /// A key or a request could not be made here.
    #[error("{0}")]
    Local(String),
    /// The service refused, or was not reached.
    #[error(transparent)]
    Service(#[from] client::Error),
    /// Another agent has the folder.
    #[error("another agent keeps `{}`: end it first, or give another folder", .0.display())]
    Taken(PathBuf),
}

impl Error {
    /// Whether the same attempt may work later, without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Service(error) => error.is_transient(),
            Self::Answer(_) | Self::Expired { .. } | Self::Folder { .. } | Self::Local(_) | Self::Taken(_) => false,
        }
    }

    /// When the service wants to be asked again.
    pub(super) fn retry_in(&self) -> Option<Duration> {
        match self {
            Self::Service(error) => error.retry_in(),
            Self::Answer(_) | Self::Expired { .. } | Self::Folder { .. } | Self::Local(_) | Self::Taken(_) => None,
        }
    }

    pub(super) fn entropy(error: crate::error::Error) -> Self {
        Self::Local(error.detail())
    }
}
