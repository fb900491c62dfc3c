//! X.509 as pure functions: bytes and a time in, bytes out.
//!
//! Holds: what profiles and the hierarchy declare ([`profile`], [`hierarchy`]), what a CSR asks for ([`csr`]), how a
//! to-be-signed certificate and CRL are built ([`tbs`], [`crl`]), the lints that judge them before an HSM signs
//! ([`lint`]), how certificates are read and verified ([`chain`]), and in which forms they are handed out ([`pem`],
//! [`bundle`]).
//! Must never: read a clock, draw serials from anything but an [`Entropy`](crate::entropy::Entropy), hold an issuing
//! key, or copy a field out of a CSR into a certificate unchecked.
//! To add: a profile is a file in `pki/profiles/`; a lint is a row in [`lint::LINTS`] with a passing and a failing
//! vector; a subject key type is a variant in [`key::PublicKey`].
//!
//! The order of issuing (Boulder's): profile -> [`tbs::leaf`] -> [`lint::twin`] -> (the caller stores, the HSM signs)
//! -> [`tbs::Tbs::assemble`] -> [`chain::Issuer::verify`].

pub mod bundle;
pub mod chain;
pub mod constraints;
pub mod crl;
pub mod csr;
#[cfg(test)]
mod fixture;
pub mod hierarchy;
pub mod inspect;
pub mod jwk;
pub mod key;
pub mod known_keys;
pub mod lint;
pub mod name;
pub mod ocsp;
mod pattern;
pub mod pem;
pub mod profile;
pub mod root_list;
pub mod serial;
mod subject;
pub mod subordinate;
pub mod tbs;
mod usage;
mod weak;

use crate::error::Error;

/// What can go wrong with certificates.
#[derive(Debug, thiserror::Error)]
pub enum X509Error {
    /// What we built ourselves is wrong; a fault of ours.
    #[error("certificate could not be built: {0}")]
    Build(String),
    /// The to-be-signed bytes break a rule; nothing was signed.
    #[error("certificate breaks {}", findings(.0))]
    Lint(Vec<lint::Finding>),
    /// Bytes that are not what they should be.
    #[error("{what} cannot be read: {why}")]
    Malformed {
        /// What was expected.
        what: &'static str,
        /// What is wrong and what to send.
        why: String,
    },
    /// A request or a declaration that is not allowed; the text says what to do.
    #[error("{0}")]
    Refused(String),
    /// A signature that does not verify.
    #[error("the signature of {0} does not verify")]
    Signature(&'static str),
}

impl X509Error {
    pub(crate) fn malformed(what: &'static str, why: impl ToString) -> Self {
        Self::Malformed {
            what,
            why: why.to_string(),
        }
    }

    pub(crate) fn build(why: impl ToString) -> Self {
        Self::Build(why.to_string())
    }
}

fn findings(all: &[lint::Finding]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl From<X509Error> for Error {
    fn from(error: X509Error) -> Self {
        match error {
            X509Error::Build(_) | X509Error::Lint(_) => {
                Self::internal("a certificate could not be made").because(error)
            }
            X509Error::Malformed { .. } | X509Error::Refused(_) | X509Error::Signature(_) => {
                Self::invalid(error.to_string())
            }
        }
    }
}
