//! What the authority does by itself: fresh lists, an OCSP responder that may sign, and a word before its certificates end.

use std::time::Duration;

use tracing::{error, warn};

use super::{Authority, Role, Stage, UPKEEP_EVERY, is_ending};
use crate::clock::Timestamp;
use crate::x509::profile::Validity;

/// How soon what failed is tried again.
pub(super) const RETRY: Duration = Duration::from_secs(30);

impl Authority {
    /// Publishes lists after revocations and before they grow old, and warns of ends. Runs until it is dropped.
    pub async fn keep_up(&self) {
        loop {
            let due = self.keep_up_once().await;
            tokio::select! {
                () = self.0.gate.clock().sleep_until(due) => {}
                () = self.0.woken.notified() => {}
            }
        }
    }

    /// One round; gives the time of the next.
    pub(super) async fn keep_up_once(&self) -> Timestamp {
        let now = self.now();
        let mut due = now + UPKEEP_EVERY;
        if let Err(e) = self.refresh().await {
            error!(error = %e.detail(), "the issuers could not be read");
            return now + RETRY;
        }
        match self.rotate_what_is_due().await {
            Ok(next) => due = next.map_or(due, |next| due.min(next)),
            Err(e) => {
                error!(error = %e.detail(), "a rotation's step could not be taken; it is tried again");
                due = due.min(now + RETRY);
            }
        }
        let issuers = self.0.issuers.load_full();
        for member in issuers.served() {
            let signer = &member.signer;
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
            if member.role == Role::Issuing {
                match self.responder(member).await {
                    Ok(responder) => due = due.min(responder.renewal().max(now + RETRY)),
                    Err(e) => {
                        error!(issuer = label, error = %e.detail(), "the OCSP responder of `{label}` has no certificate");
                        due = due.min(now + RETRY);
                    }
                }
            }
            let validity = signer.issuer.validity();
            if member.stage == Stage::Active && is_ending(validity, now) {
                warn!(
                    issuer = label,
                    not_after = %validity.not_after,
                    "the CA certificate of `{label}` ends at {}: less than a fifth of its life is left",
                    validity.not_after
                );
            }
        }
        for member in issuers.members().filter(|member| member.signer.key.is_none()) {
            self.warn_of_imported(member, now).await;
        }
        due
    }

    /// The validity of roots and issuing CAs that are not retired, by the label of their keys: the metric of their own ends.
    pub fn ends(&self) -> Vec<(String, Validity)> {
        let issuers = self.issuers();
        let served = issuers.served().map(|member| &member.signer);
        served
            .map(|signer| (signer.label().to_owned(), signer.issuer.validity()))
            .collect()
    }
}
