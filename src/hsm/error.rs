//! What can go wrong at the token, in words that say what to do.

use std::time::Duration;

use cryptoki::error::Error as Pkcs11Error;
use thiserror::Error;

use crate::error::Error;

/// When a caller may try again after the token was busy, slow or away.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A failed call to the token.
#[derive(Debug, Error)]
pub enum HsmError {
    /// The queue in front of the workers is full.
    #[error("the token's queue is full: try again")]
    Busy,
    /// The door was closed; the process is about to end.
    #[error("the token is closed: the service is stopping")]
    Closed,
    /// The token would not work on this input: a wrong tag, a wrong key, a wrong length.
    #[error("the token refused the data: {0}")]
    Data(&'static str),
    /// No answer within the deadline. The call may still take effect.
    #[error("the token did not answer in time: try again")]
    Deadline,
    /// The token failed in a way that no rung of the ladder heals.
    #[error("the token failed: {0}")]
    Device(String),
    /// Two objects of one kind carry one label, so that the label no longer says which key is meant.
    #[error("the token holds more than one key labelled `{0}`: remove or rename the one that does not belong")]
    Duplicate(String),
    /// A key of this label is there already; it is never replaced.
    #[error("the token already holds a key labelled `{0}`")]
    KeyExists(String),
    /// The PKCS#11 library cannot be loaded or set up.
    #[error("the PKCS#11 module `{path}` cannot be used: {reason}; check `hsm.module`")]
    Module {
        /// As configured.
        path: String,
        /// What the loader or the library says.
        reason: String,
    },
    /// No token of this label is there when the door is opened.
    #[error(
        "no token labelled `{0}` is found: check `hsm.token_label`, the module's own configuration (for SoftHSM the \
         environment variable SOFTHSM2_CONF) and that the token is initialised"
    )]
    NoToken(String),
    /// The PIN cannot be read from where the configuration says.
    #[error("the token's PIN cannot be read")]
    Pin(#[source] Error),
    /// The token was there and is away, or no longer shows a key that is known to exist. No key is ever made in
    /// answer to this.
    #[error("the token is lost: {0}; bring it back, no restart is needed")]
    TokenLost(String),
    /// The token or this room does not offer what was asked.
    #[error("the token does not offer {0}")]
    Unsupported(String),
    /// The token refused the PIN. It is not tried again before a restart: tokens lock after a few wrong ones.
    #[error("the token refused the PIN: check `hsm.pin`, then restart (a wrong PIN is not tried twice)")]
    WrongPin,
}

impl HsmError {
    /// Whether the same call may succeed later without anybody changing a setting.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Busy | Self::Deadline | Self::Device(_) | Self::TokenLost(_) => true,
            Self::Closed
            | Self::Data(_)
            | Self::Duplicate(_)
            | Self::KeyExists(_)
            | Self::Module { .. }
            | Self::NoToken(_)
            | Self::Pin(_)
            | Self::Unsupported(_)
            | Self::WrongPin => false,
        }
    }

    /// A failure of the binding or the library that no rung heals.
    pub(super) fn device(error: &Pkcs11Error) -> Self {
        Self::Device(error.to_string())
    }
}

impl From<HsmError> for Error {
    fn from(error: HsmError) -> Self {
        let text = error.to_string();
        let retryable = error.is_retryable();
        let spoken = match &error {
            HsmError::KeyExists(_) => Self::conflict(text),
            HsmError::Data(_) | HsmError::Duplicate(_) | HsmError::Unsupported(_) => Self::internal(text),
            HsmError::Pin(cause) => Self::unavailable(format!("{text}: {cause}")),
            HsmError::Busy
            | HsmError::Closed
            | HsmError::Deadline
            | HsmError::Device(_)
            | HsmError::Module { .. }
            | HsmError::NoToken(_)
            | HsmError::TokenLost(_)
            | HsmError::WrongPin => Self::unavailable(text),
        };
        let spoken = spoken.because(error);
        if retryable {
            spoken.retry_after(RETRY_AFTER)
        } else {
            spoken
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn a_lost_token_asks_for_patience_and_a_wrong_pin_does_not() {
        let lost = Error::from(HsmError::TokenLost("no slot".to_owned()));
        assert_eq!(lost.kind(), Kind::Unavailable);
        assert_eq!(lost.retry_in(), Some(RETRY_AFTER));
        let pin = Error::from(HsmError::WrongPin);
        assert_eq!(pin.kind(), Kind::Unavailable);
        assert_eq!(pin.retry_in(), None);
    }

    #[test]
    fn a_bad_tag_is_never_told_to_a_stranger() {
        let error = Error::from(HsmError::Data("the tag does not match"));
        assert!(!error.public().contains("tag"));
    }
}
