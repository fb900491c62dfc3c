//! Answering OCSP requests: from memory where that is enough, signed for the asker where it is not.
//!
//! An answer about one certificate is signed once and kept until half of its life. A nonce, or several certificates in
//! one request, make an answer that nobody else can use; those are bounded, so that strangers do not keep the token
//! from issuing. Serials that were never issued cost no signature.
//!
//! Answers are not recorded one by one: strangers ask for them, and they say only what recorded acts made true.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest;
use der::Encode;
use tracing::warn;

use super::issuers::Member;
use super::revoked::repo;
use super::{AHEAD, Authority, Signer, has_just_failed};
use crate::clock::Timestamp;
use crate::error::{Error, Kind, Result};
use crate::x509::ocsp::{self, CertId, Refusal, Request, Status, Window};

/// How many answers are kept, of about a kilobyte each.
pub(super) const KEPT: u64 = 100_000;
/// Seconds between two tries after the token failed.
const PAUSE_S: i64 = 2;

/// What is said to an asker.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Nothing, and why; unsigned.
    Refused(Refusal),
    /// A signed response.
    Signed(Arc<Response>),
}

/// A signed response.
#[derive(Debug)]
pub struct Response {
    /// DER.
    pub der: Vec<u8>,
    /// SHA-256 of it, hexadecimal.
    pub etag: String,
    /// From when to when.
    pub window: Window,
    /// Up to which of the issuer's revocations it holds.
    revision: AtomicI64,
    /// What it says, if it is about one certificate.
    status: Option<Status>,
}

impl Response {
    /// Whether it is in the first half of its life.
    fn is_young(&self, now: Timestamp) -> bool {
        let life = self.window.next_update.since(self.window.this_update);
        self.window.this_update <= now + AHEAD && now < self.window.this_update + life / 2
    }
}

/// Signatures for strangers: so many a second, and as many at once.
pub(super) struct Bucket {
    per_s: u32,
    /// Thousandths of a signature, and the time in milliseconds.
    left: Mutex<(u64, i64)>,
}

impl Bucket {
    pub(super) fn new(per_s: u32) -> Self {
        Self {
            per_s,
            left: Mutex::new((u64::from(per_s) * 1_000, i64::MIN)),
        }
    }

    fn take(&self, now_ms: i64) -> bool {
        let mut state = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, at) = *state;
        let most = u64::from(self.per_s) * 1_000;
        let since = u64::try_from(now_ms.saturating_sub(at)).unwrap_or(0);
        let left = since
            .saturating_mul(u64::from(self.per_s))
            .saturating_add(left)
            .min(most);
        let taken = left.checked_sub(1_000);
        *state = (taken.unwrap_or(left), now_ms);
        taken.is_some()
    }
}

impl Authority {
    /// Answers a DER request about certificates of the issuer with this key. What was revoked before the call, on
    /// whatever node, is answered as revoked.
    ///
    /// # Errors
    /// `NotFound` if there is no such issuer, or none that issues to subjects. All else is a [`Refusal`].
    pub async fn ocsp(&self, issuer: &str, request: &[u8]) -> Result<Answer> {
        self.refresh().await?;
        let member = self
            .issuers()
            .issuing()
            .find(|member| member.signer.label() == issuer)
            .cloned();
        let member = member.ok_or_else(|| Error::not_found(format!("there is no OCSP responder of `{issuer}`")))?;
        let signer = &*member.signer;
        // RFC 6960 §2.3, in this order: nothing is looked up for what cannot be read.
        let Ok(request) = Request::parse(request) else {
            return Ok(Answer::Refused(Refusal::MalformedRequest));
        };
        if !request.ids.iter().any(|id| id.is_of(&signer.issuer)) {
            return Ok(Answer::Refused(Refusal::Unauthorized));
        }
        let answered = match (request.ids.as_slice(), &request.nonce) {
            ([id], None) => self.kept_answer(&member, id).await,
            _ => self.live_answer(&member, &request).await,
        };
        answered.or_else(|e| {
            self.0.ocsp_failed_at.store(self.now().unix(), Ordering::SeqCst);
            warn!(issuer, error = %e.detail(), "an OCSP request about `{issuer}` was not answered");
            Ok(Answer::Refused(match e.kind() {
                Kind::Unavailable => Refusal::TryLater,
                _ => Refusal::InternalError,
            }))
        })
    }

    async fn kept_answer(&self, member: &Member, id: &CertId) -> Result<Answer> {
        let signer = &*member.signer;
        let key = id
            .to_der()
            .map_err(|e| Error::internal("an id was read and cannot be written").because(e))?;
        // INVARIANT: first how many revocations there were, then what became of the certificate: an answer holds at
        // least up to where it says.
        let revision = signer.revision.load(Ordering::SeqCst);
        let now = self.now();
        let kept = self.0.answers.get(&key);
        let young = kept.as_ref().filter(|kept| kept.is_young(now));
        if let Some(kept) = young.filter(|kept| kept.revision.load(Ordering::SeqCst) >= revision) {
            return Ok(Answer::Signed(kept.clone()));
        }
        let status = self.status(signer, id).await?;
        if status == Status::Unknown {
            // SECURITY: nobody makes the token sign by asking about serials that were never issued.
            return Ok(Answer::Refused(Refusal::Unauthorized));
        }
        let kept = kept.filter(|kept| kept.status == Some(status) && now < kept.window.next_update);
        if let Some(kept) = kept.as_ref().filter(|kept| kept.is_young(now)) {
            kept.revision.fetch_max(revision, Ordering::SeqCst);
            return Ok(Answer::Signed(kept.clone()));
        }
        match self.sign_answer(member, &[(id.clone(), status)], None, revision).await {
            Ok(response) => {
                self.0.answers.insert(key, response.clone());
                Ok(Answer::Signed(response))
            }
            // Past its half, but true and good.
            Err(e) => kept.map(Answer::Signed).ok_or(e),
        }
    }

    async fn live_answer(&self, member: &Member, request: &Request) -> Result<Answer> {
        let signer = &*member.signer;
        if !self.0.live.take(self.0.gate.clock().now_millis()) {
            return Ok(Answer::Refused(Refusal::TryLater));
        }
        let mut answers = Vec::with_capacity(request.ids.len());
        for id in &request.ids {
            answers.push((id.clone(), self.status(signer, id).await?));
        }
        if answers.iter().all(|(_, status)| *status == Status::Unknown) {
            return Ok(Answer::Refused(Refusal::Unauthorized));
        }
        let revision = signer.revision.load(Ordering::SeqCst);
        let response = self
            .sign_answer(member, &answers, request.nonce.as_deref(), revision)
            .await?;
        Ok(Answer::Signed(response))
    }

    /// As the store has it now.
    async fn status(&self, signer: &Signer, id: &CertId) -> Result<Status> {
        match id.serial() {
            Some(serial) if id.is_of(&signer.issuer) => {
                repo::status(self.0.gate.store().read(), signer.label(), &serial.to_string()).await
            }
            _ => Ok(Status::Unknown),
        }
    }

    async fn sign_answer(
        &self,
        member: &Member,
        answers: &[(CertId, Status)],
        nonce: Option<&[u8]>,
        revision: i64,
    ) -> Result<Arc<Response>> {
        let now = self.now();
        // SECURITY: strangers ask; without a pause they would queue up at a token that is away.
        if has_just_failed(self.0.ocsp_failed_at.load(Ordering::SeqCst), PAUSE_S, now) {
            return Err(Error::unavailable("no OCSP answer can be signed now: try again"));
        }
        let responder = self.responder(member).await?;
        let window = Window {
            this_update: now,
            next_update: (now + self.0.hierarchy.ocsp_validity()).min(responder.validity.not_after),
        };
        let data = ocsp::to_be_signed(&responder.public, answers, window, nonce)?;
        let signature = self.0.hsm.sign(&responder.key, &data).await?;
        let der = ocsp::assemble(&responder.public, &responder.certificate, &data, &signature)?;
        let status = match answers {
            [(_, status)] => Some(*status),
            _ => None,
        };
        Ok(Arc::new(Response {
            etag: hex::encode(digest::digest(&digest::SHA256, &der)),
            der,
            window,
            revision: AtomicI64::new(revision),
            status,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_what_it_holds_and_fills_with_time() {
        let bucket = Bucket::new(2);
        let mut now = 1_800_000_000_000;
        assert!(bucket.take(now) && bucket.take(now) && !bucket.take(now));
        now += 499;
        assert!(!bucket.take(now));
        now += 1;
        assert!(bucket.take(now) && !bucket.take(now));
        // A clock that is put back gives nothing, and takes nothing for good.
        assert!(!bucket.take(now - 60_000));
        assert!(bucket.take(now - 59_000));
        now += 3_600_000;
        assert!(bucket.take(now) && bucket.take(now) && !bucket.take(now));
        assert!(!Bucket::new(0).take(now));
    }
}
