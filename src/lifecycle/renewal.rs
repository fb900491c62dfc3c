//! One run of the state machine, as a value.

use std::fmt;
use std::str::FromStr;

use super::window::Window;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::{Id, Label, ObjectName};
use crate::policy::Resource;
use crate::wire;

/// How far a renewal has come. In this order, and never back, but for an order that the issuer lost or gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Nothing is done yet; it waits for its time.
    Due,
    /// The new key is stored, sealed.
    KeyReady,
    /// The signing request is stored.
    CsrReady,
    /// The issuer has the order; its URL is stored.
    Ordered,
    /// The new certificate is stored.
    Issued,
    /// It is the current version.
    Current,
    /// Files are written and the hook has run, where that is asked for.
    Delivered,
    /// It was seen served, where that is asked for. The end.
    Verified,
}

impl State {
    /// All of them, in order.
    pub const ALL: [Self; 8] = [
        Self::Due,
        Self::KeyReady,
        Self::CsrReady,
        Self::Ordered,
        Self::Issued,
        Self::Current,
        Self::Delivered,
        Self::Verified,
    ];

    /// The word in the store and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::KeyReady => "key_ready",
            Self::CsrReady => "csr_ready",
            Self::Ordered => "ordered",
            Self::Issued => "issued",
            Self::Current => "current",
            Self::Delivered => "delivered",
            Self::Verified => "verified",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for State {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| Error::internal(format!("`{text}` is no state of a renewal")))
    }
}

/// A renewal as it is stored.
#[derive(Clone, Debug)]
pub struct Renewal {
    pub(super) id: Id,
    pub(super) certificate: Id,
    pub(super) vault: Label,
    pub(super) name: ObjectName,
    pub(super) issuer: Label,
    pub(super) state: State,
    /// A [`super::window::Basis`], `first` or `requested`.
    pub(super) basis: String,
    pub(super) due: Timestamp,
    pub(super) next: Option<Timestamp>,
    pub(super) ask_issuer: Option<Timestamp>,
    pub(super) suggested: Option<Window>,
    pub(super) node: Option<Label>,
    pub(super) failures: u32,
    /// Those among them that trying again does not help against.
    pub(super) refusals: u32,
    pub(super) last_error: Option<String>,
    pub(super) stopped: bool,
    pub(super) version: Option<Id>,
    pub(super) key_sealed: Option<Vec<u8>>,
    pub(super) csr: Option<Vec<u8>>,
    pub(super) order_url: Option<String>,
    pub(super) serial: Option<String>,
    pub(super) created: Timestamp,
    pub(super) updated: Timestamp,
}

impl Renewal {
    /// A new one for `certificate`, due at `due`, for reason `basis`.
    pub(super) fn new(
        id: Id,
        certificate: &super::certificate::Certificate,
        basis: &str,
        due: Timestamp,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            certificate: certificate.id,
            vault: certificate.vault.clone(),
            name: certificate.spec.name.clone(),
            issuer: certificate.spec.issuer.clone(),
            state: State::Due,
            basis: basis.to_owned(),
            due,
            next: Some(due),
            ask_issuer: None,
            suggested: None,
            node: None,
            failures: 0,
            refusals: 0,
            last_error: None,
            stopped: false,
            version: None,
            key_sealed: None,
            csr: None,
            order_url: None,
            serial: None,
            created: now,
            updated: now,
        }
    }

    /// What it acts on.
    pub(super) fn resource(&self) -> Resource {
        Resource::certificate(self.vault.clone(), self.name.clone())
    }

    /// As it is shown.
    pub(super) fn shown(&self, now: Timestamp) -> wire::Renewal {
        let state = match self.state {
            _ if self.stopped => "failed",
            State::Due if self.due > now => "scheduled",
            state => state.as_str(),
        };
        wire::Renewal {
            id: self.id.to_string(),
            vault: self.vault.clone(),
            certificate: self.name.clone(),
            issuer: self.issuer.clone(),
            state: state.to_owned(),
            due: self.due,
            updated: self.updated,
            failures: self.failures,
            last_error: self.last_error.clone(),
            next_attempt: self.next.filter(|_| self.failures > 0),
            serial: self.serial.clone(),
        }
    }
}
