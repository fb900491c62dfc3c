//! An issuer with its key handle, its lists and what it revoked.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::AHEAD;
use super::crl::Published;
use super::responder::Responder;
use super::revoked::{self, Rolls};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::hsm::KeyRef;
use crate::store::Store;
use crate::x509::chain::Issuer;
use crate::x509::constraints::Constraints;
use arc_swap::ArcSwapOption;

/// An issuer.
pub(super) struct Signer {
    /// DER, what stands above it, the root left out.
    pub(super) chain: Vec<Vec<u8>>,
    /// Of its own certificate and of those in `chain`.
    pub(super) constraints: Vec<Constraints>,
    pub(super) issuer: Issuer,
    /// None for a root whose key is elsewhere.
    pub(super) key: Option<KeyRef>,
    label: String,
    /// By shard.
    pub(super) lists: Vec<List>,
    /// One renewal of the responder at a time.
    pub(super) renewing: tokio::sync::Mutex<()>,
    pub(super) responder: ArcSwapOption<Responder>,
    /// How many revocations of its there were, as far as this node knows.
    pub(super) revision: AtomicI64,
    pub(super) rolls: tokio::sync::Mutex<Rolls>,
}

/// One list of an issuer.
pub(super) struct List {
    /// When a publication last failed, in unix seconds.
    pub(super) failed_at: AtomicI64,
    published: ArcSwapOption<Published>,
    /// One publication at a time; the rest wait and find it done.
    pub(super) publishing: tokio::sync::Mutex<()>,
    /// Up to which of the issuer's revocations the newest list says all of its shard.
    pub(super) reach: AtomicI64,
    pub(super) shard: u32,
}

impl Signer {
    /// An issuer with `shards` lists, and with those that it had more of before: certificates name them.
    pub(super) async fn open(
        store: &Store,
        issuer: Issuer,
        chain: Vec<Vec<u8>>,
        label: &str,
        key: Option<KeyRef>,
        shards: u32,
    ) -> Result<Self> {
        let before = revoked::repo::highest_shard(store.read(), label).await?;
        let shards = before.map_or(shards, |highest| shards.max(highest.saturating_add(1)));
        let mut constraints = vec![issuer.constraints().clone()];
        for above in &chain {
            constraints.push(Issuer::read(above)?.constraints().clone());
        }
        Ok(Self {
            chain,
            constraints,
            issuer,
            key,
            label: label.to_owned(),
            lists: (0..shards).map(List::new).collect(),
            renewing: tokio::sync::Mutex::default(),
            responder: ArcSwapOption::empty(),
            revision: AtomicI64::new(-1),
            rolls: tokio::sync::Mutex::default(),
        })
    }

    /// The label of its key, by which it is known.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// What it signs with.
    pub(super) fn key(&self) -> Result<&KeyRef> {
        self.key.as_ref().ok_or_else(|| {
            Error::unavailable(format!(
                "the key of `{}` is not in the token: what it is to sign is signed where it is",
                self.label
            ))
        })
    }

    pub(super) fn list(&self, shard: u32) -> Option<&List> {
        self.lists.get(usize::try_from(shard).ok()?)
    }
}

impl List {
    fn new(shard: u32) -> Self {
        Self {
            failed_at: AtomicI64::new(i64::MIN),
            published: ArcSwapOption::empty(),
            publishing: tokio::sync::Mutex::default(),
            reach: AtomicI64::new(i64::MIN),
            shard,
        }
    }

    /// The last list.
    pub(super) fn last(&self) -> Option<Arc<Published>> {
        self.published.load_full()
    }

    /// The last list, as long as it is good.
    pub(super) fn last_good(&self, now: Timestamp) -> Option<Arc<Published>> {
        self.published.load_full().filter(|last| now < last.next_update)
    }

    /// The number of the last list; 0 before the first.
    pub(super) fn number(&self) -> u64 {
        self.published.load().as_ref().map_or(0, |last| last.number)
    }

    /// The last list, if it is in the first half of its life.
    pub(super) fn young(&self, now: Timestamp) -> Option<Arc<Published>> {
        let is_young = |last: &Arc<Published>| last.this_update <= now + AHEAD && now < last.half();
        self.published.load_full().filter(is_young)
    }

    /// The last list, if it is in the first half of its life and says all up to that revocation.
    pub(super) fn fresh(&self, revision: i64, now: Timestamp) -> Option<Arc<Published>> {
        // First how far it reaches: a newer list reaches further.
        let reach = self.reach.load(Ordering::SeqCst);
        self.young(now).filter(|_| reach >= revision)
    }

    /// Takes a newer list; called under `publishing`.
    pub(super) fn keep(&self, published: Published) -> Arc<Published> {
        let reach = published.revision;
        let published = Arc::new(published);
        self.published.store(Some(published.clone()));
        self.reach.fetch_max(reach, Ordering::SeqCst);
        published
    }
}
