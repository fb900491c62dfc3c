//! Certificate authorities that are not ours: accounts, orders, challenges, renewal information, revocation.
//!
//! One kind of issuer is known, ACME (RFC 8555). This room speaks with it and says what its refusals mean
//! ([`UpstreamError`]); *when* to speak, and what to do about a refusal, is decided by whoever calls. Every conversation
//! has a deadline. The functions that speak need a [`Permit`](crate::gate::Permit), so that nothing is ordered past
//! the gate.
//!
//! A new kind of issuer is a file here and an arm where the account is opened; a new challenge type is a file in
//! [`solver`].

mod account;
mod error;
mod http;
mod issuer;
mod order;
mod renewal_info;
mod repo;
pub mod solver;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

pub use self::account::Registered;
use self::account::Session;
pub use self::error::UpstreamError;
pub use self::issuer::{CreateIssuer, ListIssuers, ShowIssuer};
pub use self::order::{Order, Placed, Progress, Wish};
pub use self::renewal_info::Suggestion;
use crate::clock::Clock;
use crate::id::Label;
use crate::seal::Sealer;
use crate::store::Store;

/// The sealing domain of account keys.
const DOMAIN: &str = "system";

/// All upstream issuers.
pub struct Upstream {
    store: Store,
    sealer: Sealer,
    clock: Arc<dyn Clock>,
    /// Opened accounts: the directory is read once, and connections are kept.
    sessions: Mutex<HashMap<Label, Session>>,
}

impl Upstream {
    /// Over `store`, with account keys sealed by `sealer`.
    pub fn new(store: Store, sealer: Sealer, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            sealer,
            clock,
            sessions: Mutex::default(),
        }
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, HashMap<Label, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
