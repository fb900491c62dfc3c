//! One opened data-encryption key.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::TTL;
use super::format::{self, Parts};
use super::repo::DekRow;
use crate::clock::Timestamp;
use crate::entropy::{self, Entropy};
use crate::error::{Error, Result};
use crate::id::Id;
use crate::secret::Secret;

/// An opened DEK. SECURITY: the key schedule lies in AWS-LC's memory, which wipes what it frees.
pub(super) struct Dek {
    row: DekRow,
    key: LessSafeKey,
    expires: AtomicI64,
    used: AtomicBool,
    /// Sealings that this process may still do with it. INVARIANT: their sum over all processes is in `dek.reserved`.
    budget: AtomicI64,
}

/// Below this, [`Dek::has_budget`] asks for another block, so that an act in flight always finds some left.
const LOW: i64 = 1024;

impl Dek {
    pub(super) fn new(row: DekRow, plain: &Secret, expires: Timestamp) -> Result<Self> {
        let key = UnboundKey::new(&AES_256_GCM, plain.expose())
            .map_err(|_| Error::internal(format!("data key {} is not an AES-256 key", row.id)))?;
        Ok(Self {
            row,
            key: LessSafeKey::new(key),
            expires: AtomicI64::new(expires.unix()),
            used: AtomicBool::new(true),
            budget: AtomicI64::new(0),
        })
    }

    pub(super) fn id(&self) -> &Id {
        &self.row.id
    }

    pub(super) fn generation(&self) -> i64 {
        self.row.generation
    }

    pub(super) fn expires(&self) -> Timestamp {
        Timestamp::from_unix(self.expires.load(Ordering::Relaxed))
    }

    /// SECURITY: a clock that was put back does not lengthen the time that the key lies here in the clear.
    pub(super) fn is_live(&self, now: Timestamp) -> bool {
        let expires = self.expires();
        now < expires && expires <= now + TTL * 2
    }

    pub(super) fn extend(&self, expires: Timestamp) {
        self.expires.store(expires.unix(), Ordering::Relaxed);
    }

    pub(super) fn take_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }

    pub(super) fn mark_used(&self) {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn has_budget(&self) -> bool {
        self.budget.load(Ordering::Relaxed) > LOW
    }

    pub(super) fn grant(&self, sealings: i64) {
        self.budget.fetch_add(sealings, Ordering::Relaxed);
    }

    fn seal(&self, entropy: &dyn Entropy, binding: &[u8], secret: &Secret) -> Result<Vec<u8>> {
        self.mark_used();
        // INVARIANT: a key seals at most 2^32 times under random nonces (NIST SP 800-38D §8.3).
        if self.budget.fetch_sub(1, Ordering::Relaxed) <= 0 {
            return Err(
                Error::unavailable("the data key's share of sealings is used up: try again")
                    .retry_after(Duration::from_secs(1)),
            );
        }
        let nonce = entropy::bytes(entropy)?;
        let mut sealed = format::head(&self.row.id, &nonce, secret.len());
        sealed.extend(secret.expose());
        let text = sealed
            .get_mut(format::HEAD_LEN..)
            .ok_or_else(|| Error::internal("a sealed value's head is short"))?;
        let tag = self
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(format::value_aad(&self.row.domain, binding)),
                text,
            )
            .map_err(|_| Error::internal("sealing failed"))?;
        sealed.extend(tag.as_ref());
        Ok(sealed)
    }

    pub(super) fn open(&self, domain: &str, binding: &[u8], parts: &Parts<'_>) -> Result<Secret> {
        let refused = || {
            Error::internal(format!(
                "a sealed value of `{domain}` does not open: it is damaged, or was moved here from another place"
            ))
        };
        if domain != self.row.domain {
            return Err(refused());
        }
        self.mark_used();
        let mut plain = vec![0; parts.ciphertext.len()];
        self.key
            .open_separate_gather(
                Nonce::assume_unique_for_key(parts.nonce),
                Aad::from(format::value_aad(domain, binding)),
                parts.ciphertext,
                parts.tag,
                &mut plain,
            )
            .map_err(|_| refused())?;
        Ok(Secret::new(plain))
    }
}

/// The right to seal within a domain, now.
#[derive(Clone)]
pub struct SealingKey {
    dek: Arc<Dek>,
    entropy: Arc<dyn Entropy>,
}

impl SealingKey {
    pub(super) fn new(dek: Arc<Dek>, entropy: Arc<dyn Entropy>) -> Self {
        Self { dek, entropy }
    }

    /// Seals `secret`, to be opened only under the same `binding`.
    ///
    /// # Errors
    /// `Unavailable` if this key's share of sealings is used up; `Internal` if the random source fails.
    pub fn seal(&self, binding: &[u8], secret: &Secret) -> Result<Vec<u8>> {
        self.dek.seal(&*self.entropy, binding, secret)
    }
}
