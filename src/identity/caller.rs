//! Who is calling, once that is established.

use std::net::SocketAddr;

use crate::clock::Timestamp;
use crate::entropy::Entropy;
use crate::error::Result;
use crate::id::Id;
use crate::policy::{AcmeAccount, Principal, system};

/// A request, as records and log lines name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestRef {
    /// Its own id.
    pub id: Id,
    /// The trace that the caller said it belongs to: the trace-id of `traceparent` (W3C Trace Context §3.2.2.3).
    pub trace: Option<Id>,
}

impl From<Id> for RequestRef {
    /// A request that belongs to no trace.
    fn from(id: Id) -> Self {
        Self { id, trace: None }
    }
}

/// Who asks, by which request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The workload, or the part of the service.
    pub principal: Principal,
    /// The serial of the certificate shown, lower-case hexadecimal; `None` for a part of the service.
    pub serial: Option<String>,
    /// When that certificate ends.
    pub not_after: Option<Timestamp>,
    /// Where the request came from; `None` for a part of the service.
    pub source: Option<SocketAddr>,
    /// The request; the same in every audit record and log line of it.
    pub request: RequestRef,
}

impl Caller {
    /// A part of the service itself, named in [`crate::policy::system`], with a request of its own.
    ///
    /// # Errors
    /// As [`Entropy::fill`].
    pub fn system(name: &'static str, entropy: &dyn Entropy) -> Result<Self> {
        Ok(Self {
            principal: Principal::System(name),
            serial: None,
            not_after: None,
            source: None,
            request: Id::random(entropy)?.into(),
        })
    }

    /// The ACME account whose key signed the request. For the ACME server only, and only once it has verified the
    /// signature; `source` is `None` when it goes on by itself with what the account asked for before.
    pub fn account(account: AcmeAccount, source: Option<SocketAddr>, request: RequestRef) -> Self {
        Self {
            principal: Principal::Account(account),
            serial: None,
            not_after: None,
            source,
            request,
        }
    }

    /// Somebody who has shown a key to the ACME server and has no account.
    pub fn acme(source: SocketAddr, request: RequestRef) -> Self {
        Self {
            principal: Principal::System(system::ACME),
            serial: None,
            not_after: None,
            source: Some(source),
            request,
        }
    }

    /// Somebody without a certificate who redeems a join token: not known yet, but where it comes from is.
    pub fn enrolling(source: SocketAddr, request: RequestRef) -> Self {
        Self {
            principal: Principal::System(system::ENROLLMENT),
            serial: None,
            not_after: None,
            source: Some(source),
            request,
        }
    }

    /// Somebody without a certificate who has proven to hold a key: the authority acts on it, and where it comes from is
    /// known.
    pub fn proving(source: SocketAddr, request: RequestRef) -> Self {
        Self {
            principal: Principal::System(system::CA),
            ..Self::enrolling(source, request)
        }
    }
}
