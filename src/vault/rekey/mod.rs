//! Replacing the keys that seal, while everything goes on.
//!
//! A rotation of the KEK wraps every data key anew by a new key of the token (`kek`). It is one small change after
//! another, each committed with its record, so that it goes on from the store after a crash in any of them, on whichever
//! node takes the lease.
//!
//! It must never give up a wrapped key or a sealed value for one that was not opened again, delete a key of the token, or
//! make a reader wait.

mod kek;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tracing::warn;

use super::Vault;
use crate::clock::Clock;
use crate::error::{Kind, Result};
use crate::gate::Gate;
use crate::hsm::Hsm;
use crate::identity::Caller;
use crate::policy::system;

pub use kek::{AdoptKek, ListKeks, RetireKek, RotateKek};

/// One node at a time does the work; longer than a step takes by far.
const LEASE: Duration = Duration::from_secs(60);
/// Between two looks whether there is work that another node was asked for.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Before what failed is tried again, if time heals it.
const RETRY: Duration = Duration::from_secs(15);
/// The same if it may not: every failure leaves a record.
const RETRY_LATE: Duration = Duration::from_secs(600);

/// What the replacing of keys needs of this process.
pub(super) struct Rekey {
    hsm: Hsm,
    clock: Arc<dyn Clock>,
    woken: Arc<Notify>,
}

impl Rekey {
    pub(super) fn new(hsm: Hsm, clock: Arc<dyn Clock>) -> Self {
        Self {
            hsm,
            clock,
            woken: Arc::default(),
        }
    }
}

impl Vault {
    /// Does whatever replacing of keys was asked for, here or on another node. Runs until it is dropped.
    pub async fn keep_rekeyed(&self, gate: &Gate) {
        loop {
            let pause = match self.rekey(gate).await {
                Ok(()) => LOOK_EVERY,
                Err(error) => {
                    warn!(error = %error.detail(), "keys are not replaced yet; it is tried again");
                    match error.kind() {
                        Kind::Unavailable | Kind::Conflict => RETRY,
                        _ => RETRY_LATE,
                    }
                }
            };
            tokio::select! {
                () = self.rekey.clock.sleep(pause) => {}
                () = self.rekey.woken.notified() => {}
            }
        }
    }

    /// Does whatever replacing of keys was asked for, unless another node is at it.
    ///
    /// # Errors
    /// As [`Gate::perform`]; whatever else could be done is done then.
    pub async fn rekey(&self, gate: &Gate) -> Result<()> {
        let caller = Caller::system(system::UPKEEP, gate.entropy().as_ref())?;
        self.rotate_kek(gate, &caller).await
    }
}
