//! Following the service's trust bundle: newer roots come into the folder before anything needs them, and the certificate
//! is renewed early once its issuer does not sign any more.

use std::time::Duration;

use super::{Agent, LONGEST_PAUSE, Result};
use crate::clock::Timestamp;
use crate::entropy;
use crate::wire::{TrustBundle, Trusted};
use crate::x509::pem;

/// The shortest pause between two looks.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

impl Agent {
    /// Sleeps until `due`, or until the certificate is to be renewed because its issuer went. `seen` is the last bundle
    /// that was a reason for it: one is a reason once only, whatever the renewal brings.
    pub(super) async fn follow_until(&self, due: Timestamp, seen: &mut Option<u64>) {
        loop {
            let mut pause = LONGEST_PAUSE;
            match self.follow().await {
                Ok((bundle, is_gone)) => {
                    pause = Duration::from_secs(bundle.refresh_hint_s).max(SHORTEST_PAUSE);
                    if is_gone && *seen != Some(bundle.sequence) {
                        *seen = Some(bundle.sequence);
                        // So that nodes do not come all at once.
                        let jitter = entropy::below(&*self.entropy, pause.as_secs()).unwrap_or(0);
                        (self.say)(&format!("another issuer signs now; renewal in {jitter} s"));
                        let early = self.clock.now() + Duration::from_secs(jitter);
                        return self.clock.sleep_until(early.min(due)).await;
                    }
                }
                Err(error) => (self.say)(&format!("the trust bundle was not fetched: {error}")),
            }
            let next = self.clock.now() + pause;
            self.clock.sleep_until(next.min(due)).await;
            if self.clock.now() >= due {
                return;
            }
        }
    }

    /// Takes newer roots over. Gives the bundle, and whether the issuer of the certificate that is there signs no more.
    async fn follow(&self) -> Result<(TrustBundle, bool)> {
        let bundle = self.client()?.trust_bundle().await?;
        let roots: String = bundle.roots.iter().map(|root| root.certificate_pem.as_str()).collect();
        if self.folder.install_roots(&roots)? {
            (self.say)(&format!("{} roots are trusted now", bundle.roots.len()));
        }
        let is_gone = is_gone(&self.folder.chain()?, &bundle.issuers);
        Ok((bundle, is_gone))
    }
}

/// Whether what stands above the leaf is not at work any more.
fn is_gone(chain: &str, issuers: &[Trusted]) -> bool {
    let Some(above) = pem::decode_all(pem::CERTIFICATE, chain)
        .ok()
        .and_then(|chain| chain.into_iter().next())
    else {
        return false;
    };
    let is_it = |one: &&Trusted| {
        pem::decode_all(pem::CERTIFICATE, &one.certificate_pem).is_ok_and(|ders| ders.first() == Some(&above))
    };
    // One that was retired is in the bundle no more.
    issuers
        .iter()
        .find(is_it)
        .is_none_or(|one| one.stage != "active" && one.stage != "published")
}
