//! What the authority does by itself: fresh lists, an OCSP responder that may sign, and a word before its certificates end.

use std::time::Duration;

use tracing::{error, warn};

use super::{Authority, UPKEEP_EVERY, is_ending};
use crate::clock::Timestamp;
use crate::x509::profile::Validity;

/// How soon a failed publication is tried again.
const RETRY: Duration = Duration::from_secs(30);

impl Authority {
    /// Publishes lists after revocations and before they grow old, and warns of ends. Runs until it is dropped.
    pub async fn keep_up(&self) {
        loop {
            let due = self.keep_up_once().await;
            tokio::select! {
                () = self.0.gate.clock().sleep_until(due) => {}
                () = self.0.revoked.notified() => {}
            }
        }
    }

    /// One round; gives the time of the next.
    pub(super) async fn keep_up_once(&self) -> Timestamp {
        let now = self.now();
        let mut due = now + UPKEEP_EVERY;
        for signer in self.signers() {
            let label = signer.label();
            for list in &signer.lists {
                let shard = list.shard;
                match self.crl(label, shard).await {
                    // A list that is served for want of a newer one is past its half: soon again.
                    Ok(published) => due = due.min(published.half().max(now + RETRY)),
                    Err(e) => {
                        error!(
                            issuer = label,
                            crl.shard = shard,
                            error = %e.detail(),
                            "the revocation list `{label}/{shard}` could not be made"
                        );
                        due = due.min(now + RETRY);
                    }
                }
            }
            if label == self.0.issuing.label() {
                match self.responder().await {
                    Ok(responder) => due = due.min(responder.renewal().max(now + RETRY)),
                    Err(e) => {
                        error!(issuer = label, error = %e.detail(), "the OCSP responder of `{label}` has no certificate");
                        due = due.min(now + RETRY);
                    }
                }
            }
            let validity = signer.issuer.validity();
            if is_ending(validity, now) {
                warn!(
                    issuer = label,
                    not_after = %validity.not_after,
                    "the CA certificate of `{label}` ends at {}: less than a fifth of its life is left",
                    validity.not_after
                );
            }
        }
        due
    }

    /// The validity of root and issuing CA by the label of their keys: the metric of their own ends.
    pub fn ends(&self) -> [(&str, Validity); 2] {
        self.signers().map(|signer| (signer.label(), signer.issuer.validity()))
    }
}
