//! Sealing: what the store keeps is encrypted before it gets there, and opened only as what it was sealed as.
//!
//! A domain (`vault/<name>`, `system`) has a data-encryption key (DEK). It is wrapped by the key-encryption key (KEK)
//! in the token and stored so; in the clear it lives in this process only, for a bounded time, and is wiped when
//! dropped. Opening a value whose DEK is live never touches the token: reads go on while the token is away.
//!
//! Every sealed value is bound (as associated data of AES-256-GCM) to its domain and to what the caller says it is, so
//! a row that someone moves to another object, version or vault does not open. What this room cannot see: a storage
//! writer who puts an object's whole older state back (`docs/threat-model.md`).
//!
//! It must never hand out a DEK, seal without a reserved share of the key's 2^32 random nonces, or make a key for a
//! domain that has one. Add here: another algorithm is another version byte in `format`.

mod archive;
mod dek;
mod format;
mod kek;
mod repo;
mod stream;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, MutexGuard};
use tracing::warn;

use crate::clock::{Clock, Timestamp};
use crate::entropy::{self, Entropy};
use crate::error::{Error, Kind, Result};
use crate::fault;
use crate::hsm::{Hsm, KeyRef};
use crate::id::Id;
use crate::secret::Secret;
use crate::store::Store;

pub use dek::SealingKey;
pub use format::binding;
pub use kek::{Kek, KekStage, WrappedAnew, WrappedKey};
pub use stream::{CHUNK_OVERHEAD, STREAM_KEY_LEN, StreamOpener, StreamSealer, open_stream};

use dek::Dek;
use repo::{DekRow, Reserved};

/// How long an opened DEK lives without being proven again by the token.
const TTL: Duration = Duration::from_secs(3600);

/// Seals and opens. Cheap to clone.
#[derive(Clone)]
pub struct Sealer {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    hsm: Hsm,
    /// The first generation.
    kek: KeyRef,
    entropy: Arc<dyn Entropy>,
    clock: Arc<dyn Clock>,
    /// The opened keys by id. Replaced as a whole, so that reading takes no lock.
    opened: ArcSwap<HashMap<Id, Arc<Dek>>>,
    /// Which opened key seals for a domain.
    sealing: ArcSwap<HashMap<String, Id>>,
    /// One loader a domain (by hash): the rest wait for it and find the key opened.
    loading: [Mutex<()>; 16],
    hasher: RandomState,
}

impl Sealer {
    /// Seals with DEKs wrapped by `kek`, the first generation of the KEK, or by a later one that the store knows. Nothing
    /// is read or made yet.
    pub fn new(store: Store, hsm: Hsm, kek: KeyRef, entropy: Arc<dyn Entropy>, clock: Arc<dyn Clock>) -> Self {
        Self {
            inner: Arc::new(Inner {
                store,
                hsm,
                kek,
                entropy,
                clock,
                opened: ArcSwap::default(),
                sealing: ArcSwap::default(),
                loading: Default::default(),
                hasher: RandomState::new(),
            }),
        }
    }

    /// Seals `secret` within `domain`, to be opened only under the same `binding` (see [`binding()`]). The domain's
    /// DEK is made on first use.
    ///
    /// # Errors
    /// `Unavailable` if the DEK must be opened or made and the token or the store does not answer.
    pub async fn seal(&self, domain: &str, binding: &[u8], secret: &Secret) -> Result<Vec<u8>> {
        self.key(domain).await?.seal(binding, secret)
    }

    /// The key that seals within `domain`, for sealing inside a transaction, which may wait for nothing else. Good for
    /// this one act: hold it no longer.
    ///
    /// # Errors
    /// As [`Self::seal`].
    pub async fn key(&self, domain: &str) -> Result<SealingKey> {
        let dek = match self.inner.sealing_key(domain) {
            Some(dek) => dek,
            None => self.inner.load_sealing_key(domain).await?,
        };
        Ok(SealingKey::new(dek, self.inner.entropy.clone()))
    }

    /// Whether a live key of this process seals within `domain`; the domain then exists for sure.
    pub fn has(&self, domain: &str) -> bool {
        self.inner.sealing_key(domain).is_some()
    }

    /// Opens what was sealed within `domain` under `binding`.
    ///
    /// # Errors
    /// `Unavailable` if the DEK must be opened and the token or the store does not answer; `Internal` if `sealed` is
    /// damaged or was sealed as something else.
    pub async fn open(&self, domain: &str, binding: &[u8], sealed: &[u8]) -> Result<Secret> {
        let parts = format::split(sealed)?;
        let dek = match self.inner.live(&parts.dek) {
            Some(dek) => dek,
            None => self.inner.load(domain, parts.dek).await?,
        };
        dek.open(domain, binding, &parts)
    }
}

impl Inner {
    fn live(&self, id: &Id) -> Option<Arc<Dek>> {
        let opened = self.opened.load();
        let dek = opened.get(id)?;
        dek.is_live(self.clock.now()).then(|| dek.clone())
    }

    fn sealing_key(&self, domain: &str) -> Option<Arc<Dek>> {
        let id = *self.sealing.load().get(domain)?;
        self.live(&id).filter(|dek| dek.has_budget())
    }

    async fn loader(&self, domain: &str) -> Result<MutexGuard<'_, ()>> {
        let slot = usize::try_from(self.hasher.hash_one(domain) % 16).unwrap_or(0);
        let lock = self
            .loading
            .get(slot)
            .ok_or_else(|| Error::internal("no loader slot"))?;
        Ok(lock.lock().await)
    }

    async fn load(self: &Arc<Self>, domain: &str, id: Id) -> Result<Arc<Dek>> {
        let _one = self.loader(domain).await?;
        if let Some(dek) = self.live(&id) {
            return Ok(dek);
        }
        let row = repo::find(&self.store, &id)
            .await?
            .ok_or_else(|| Error::internal(format!("data key {id} of `{domain}` is missing from the store")))?;
        self.unwrap(row).await
    }

    async fn load_sealing_key(self: &Arc<Self>, domain: &str) -> Result<Arc<Dek>> {
        let _one = self.loader(domain).await?;
        if let Some(dek) = self.sealing_key(domain) {
            return Ok(dek);
        }
        // Two rounds: a second one if another node was first to make the generation that was missing.
        for _ in 0..2 {
            let newest = repo::newest(&self.store, domain).await?;
            let generation = match newest {
                Some(row) => {
                    let dek = match self.live(&row.id) {
                        Some(dek) => dek,
                        None => self.unwrap(row).await?,
                    };
                    match repo::reserve(&self.store, dek.id()).await? {
                        Reserved::Block(sealings) => {
                            dek.grant(sealings);
                            self.seals_with(domain, *dek.id());
                            return Ok(dek);
                        }
                        Reserved::Exhausted => dek.generation().saturating_add(1),
                    }
                }
                None => 1,
            };
            self.make(domain, generation).await?;
        }
        Err(
            Error::unavailable(format!("no data key could be made for `{domain}`: try again"))
                .retry_after(Duration::from_secs(1)),
        )
    }

    /// Makes and stores a generation of the domain's DEK; does nothing if someone else was first.
    async fn make(&self, domain: &str, generation: i64) -> Result<()> {
        let id = Id::random(&*self.entropy)?;
        let nonce = entropy::bytes(&*self.entropy)?;
        let plain = self.hsm.random(format::DEK_LEN).await?;
        let aad = format::dek_aad(&id, domain, generation);
        let kek = self.active_kek().await?;
        let ciphertext = self.hsm.encrypt(&kek, nonce, &aad, &plain).await?;
        // CRASH: a DEK that is not stored was never used: the next use makes another.
        let row = DekRow {
            id,
            domain: domain.to_owned(),
            generation,
            wrapped: format::join_wrapped(nonce, &ciphertext),
            kek: kek.label,
        };
        fault::point("seal.dek.before");
        let inserted = repo::insert(&self.store, row, self.clock.now()).await;
        fault::point("seal.dek.after");
        match inserted {
            Err(e) if e.kind() == Kind::Conflict => Ok(()),
            other => other,
        }
    }

    async fn unwrap(self: &Arc<Self>, row: DekRow) -> Result<Arc<Dek>> {
        let plain = self.decrypt(&row).await?;
        let now = self.clock.now();
        let dek = Arc::new(Dek::new(row, &plain, now + TTL)?);
        self.opened.rcu(|opened| {
            let mut next = HashMap::clone(opened);
            next.retain(|_, dek| dek.is_live(now));
            next.insert(*dek.id(), dek.clone());
            next
        });
        tokio::spawn(keep(
            Arc::downgrade(self),
            Arc::downgrade(&dek),
            self.clock.clone(),
            now,
        ));
        Ok(dek)
    }

    async fn decrypt(&self, row: &DekRow) -> Result<Secret> {
        let (nonce, ciphertext) = format::split_wrapped(&row.wrapped)?;
        let kek = self.labelled(row.kek.clone());
        let aad = format::dek_aad(&row.id, &row.domain, row.generation);
        Ok(self.hsm.decrypt(&kek, nonce, &aad, ciphertext).await?)
    }

    fn seals_with(&self, domain: &str, id: Id) {
        self.sealing.rcu(|sealing| {
            let mut next = HashMap::clone(sealing);
            next.insert(domain.to_owned(), id);
            next
        });
    }

    fn forget(&self, dek: &Arc<Dek>) {
        self.opened.rcu(|opened| {
            let mut next = HashMap::clone(opened);
            next.retain(|_, held| !Arc::ptr_eq(held, dek));
            next
        });
    }
}

/// Watches over one opened DEK: proves a used one to the token again while it is half-way, and drops it at its end.
/// So a token that goes away finds every hot DEK with at least half its life, and an idle one is wiped in time.
async fn keep(sealer: Weak<Inner>, dek: Weak<Dek>, clock: Arc<dyn Clock>, opened_at: Timestamp) {
    let mut wake = opened_at + TTL / 2;
    loop {
        clock.sleep_until(wake).await;
        let (Some(sealer), Some(dek)) = (sealer.upgrade(), dek.upgrade()) else {
            return;
        };
        let now = clock.now();
        if !dek.is_live(now) {
            sealer.forget(&dek);
            return;
        }
        if dek.take_used() {
            // By the KEK that wraps it now, which may be another than when it was opened.
            let proven = async {
                match repo::find(&sealer.store, dek.id()).await? {
                    Some(row) => sealer.decrypt(&row).await.map(|_| true),
                    None => Ok(false),
                }
            };
            match proven.await {
                Ok(false) => {
                    sealer.forget(&dek);
                    return;
                }
                Ok(true) => {
                    dek.extend(now + TTL);
                    wake = now + TTL / 2;
                    continue;
                }
                Err(e) => {
                    dek.mark_used();
                    warn!(dek.id = %dek.id(), "data key is not proven again: {}", e.detail());
                }
            }
        }
        wake = (now + TTL / 20).min(dek.expires());
    }
}

#[cfg(test)]
mod tests;
