//! Nonces against replay (RFC 8555 §6.5).
//!
//! A nonce is the time of its making and an id under a MAC, so making one leaves nothing behind, and any node knows
//! those that any node made. The MAC's key lies sealed in the store.
//!
//! INVARIANT: a nonce that was taken once is never taken again, whatever node or restart comes between, and of
//! concurrent uses one wins: to take it is to insert its row, and nobody is answered before that is committed. What
//! waits at the same time shares one statement and one commit.
//!
//! A process that has the store for itself knows which nonces of its own making were used, so there nobody waits for
//! the row: it is committed with whatever the request changes, or soon. CRASH: a use is lost only with every change
//! that its request made; whoever repeats such a request does it for the first time.
//!
//! Nonces end after [`LIFE`]; their rows are kept [`MARGIN`] longer, for clocks that disagree or step back.

mod own;
mod repo;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use futures::FutureExt;
use tokio::sync::{mpsc, oneshot};

use self::own::Own;
use super::problem::{Problem, ProblemType};
use crate::clock::{Clock, Timestamp};
use crate::entropy::{self, Entropy};
use crate::error::{Error, Result};
use crate::seal::{Sealer, binding};
use crate::secret::Secret;
use crate::store::Store;

/// How long a nonce may be used.
const LIFE: Duration = Duration::from_secs(3_600);
/// How much longer its use is remembered.
const MARGIN: Duration = Duration::from_secs(24 * 3_600);
/// How far ahead of ours another node's clock may be.
const AHEAD: Duration = Duration::from_secs(300);
/// Octets of an id.
const ID: usize = 16;
/// Octets of the MAC that are kept (RFC 2104 §5: half of it).
const TAG: usize = 16;
/// Uses that share a commit.
const BATCH: usize = 256;
/// Uses that wait at most.
const QUEUE: usize = 4_096;
/// The sealing domain and the name of the MAC's key.
const DOMAIN: &str = "acme";
const KEY: &str = "nonce-1";

/// Makes nonces and takes each back once.
pub(super) struct Nonces {
    clock: Arc<dyn Clock>,
    key: hmac::Key,
    own: Own,
    /// Used nonces of other processes, and where others use ours.
    uses: mpsc::Sender<Use>,
    store: Store,
}

/// A nonce that proved to be ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Nonce {
    minted: Timestamp,
    id: [u8; ID],
}

struct Use {
    nonce: Nonce,
    taken: oneshot::Sender<Result<bool>>,
}

impl Nonces {
    /// Reads the key, or makes it. Starts the task that takes nonces back; it ends with the value.
    pub(super) async fn open(
        store: &Store,
        sealer: &Sealer,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self> {
        let bound = binding(&["acme-key", KEY]);
        let sealed = match repo::key(store, KEY).await? {
            Some(sealed) => sealed,
            None => {
                let fresh: [u8; 32] = entropy::bytes(&*entropy)?;
                let sealed = sealer.seal(DOMAIN, &bound, &Secret::new(fresh.to_vec())).await?;
                // CRASH: before this commit no nonce was made with the key. Another node may be first: its key counts.
                repo::insert_key(store, KEY, sealed).await?;
                repo::key(store, KEY)
                    .await?
                    .ok_or_else(|| Error::internal("the key of nonces was stored and is not there"))?
            }
        };
        let key = sealer.open(DOMAIN, &bound, &sealed).await?;
        let (uses, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(take_back(store.clone(), waiting));
        Ok(Self {
            clock,
            key: hmac::Key::new(hmac::HMAC_SHA256, key.expose()),
            own: Own::new(entropy::bytes(&*entropy)?),
            uses,
            store: store.clone(),
        })
    }

    /// A fresh nonce, base64url.
    pub(super) fn mint(&self) -> String {
        let nonce = Nonce {
            minted: self.clock.now(),
            id: self.own.next(),
        };
        let mut bytes = nonce.to_bytes();
        let tag = hmac::sign(&self.key, &bytes);
        bytes.extend(tag.as_ref().iter().take(TAG));
        BASE64URL.encode(bytes)
    }

    /// Whether a nonce is one of ours and of this hour; whether it was used is not asked yet.
    ///
    /// # Errors
    /// `malformed` if it is not base64url (RFC 8555 §6.5.2), else `badNonce`.
    pub(super) fn check(&self, text: &str) -> Result<Nonce, Problem> {
        let bytes = BASE64URL
            .decode(text)
            .map_err(|_| Problem::malformed("the nonce is not base64url: send one as it was given"))?;
        let nonce = Nonce::read(&self.key, &bytes).ok_or_else(bad_nonce)?;
        let now = self.clock.now();
        if nonce.minted + LIFE < now || now + AHEAD < nonce.minted {
            return Err(bad_nonce());
        }
        Ok(nonce)
    }

    /// Takes a nonce back, for ever.
    ///
    /// # Errors
    /// `badNonce` if it was used before; the store's.
    pub(super) async fn take(&self, nonce: Nonce) -> Result<()> {
        if !self.store.is_shared()
            && let Some(first) = self.own.take(nonce.id)
        {
            if !first {
                return Err(bad_nonce().into());
            }
            return self.store.soon(move |tx| {
                tx.together(nonce);
                async { Ok(()) }.boxed()
            });
        }
        let (taken, answer) = oneshot::channel();
        let busy =
            || Error::unavailable("too many requests are waiting: try again").retry_after(Duration::from_secs(1));
        self.uses.try_send(Use { nonce, taken }).map_err(|_| busy())?;
        if answer.await.map_err(|_| busy())?? {
            Ok(())
        } else {
            Err(bad_nonce().into())
        }
    }

    /// Forgets uses of nonces that are refused for their age.
    pub(super) async fn sweep(&self) -> Result<()> {
        let now = self.clock.now();
        self.own.forget(now, now - LIFE);
        let before = now - LIFE - MARGIN;
        self.store
            .transact(move |tx| async move { repo::forget(tx, before).await }.boxed())
            .await
    }
}

impl Nonce {
    fn to_bytes(self) -> Vec<u8> {
        [self.minted.unix().to_be_bytes().as_slice(), &self.id].concat()
    }

    fn read(key: &hmac::Key, bytes: &[u8]) -> Option<Self> {
        let (said, tag) = bytes.split_at_checked(8 + ID)?;
        let whole = hmac::sign(key, said);
        let ours = whole.as_ref().get(..TAG)?;
        aws_lc_rs::constant_time::verify_slices_are_equal(ours, tag).ok()?;
        let (minted, id) = said.split_at_checked(8)?;
        Some(Self {
            minted: Timestamp::from_unix(i64::from_be_bytes(minted.try_into().ok()?)),
            id: id.try_into().ok()?,
        })
    }
}

fn bad_nonce() -> Problem {
    Problem::new(
        ProblemType::BadNonce,
        "the nonce is unknown, too old, or was used before: try again with the one of this answer",
    )
}

/// Inserts what waits, in one statement at a time.
async fn take_back(store: Store, mut waiting: mpsc::Receiver<Use>) {
    let mut batch = Vec::with_capacity(BATCH);
    while waiting.recv_many(&mut batch, BATCH).await > 0 {
        let nonces: Arc<[Nonce]> = batch.iter().map(|one| one.nonce).collect();
        let inserted = store
            .transact({
                let nonces = nonces.clone();
                move |tx| {
                    let nonces = nonces.clone();
                    async move { repo::insert(tx, &nonces).await }.boxed()
                }
            })
            .await;
        match inserted {
            Ok(inserted) => {
                // Of two of the same in one batch one was inserted, and one wins.
                let mut free: HashSet<String> = inserted.into_iter().collect();
                for one in batch.drain(..) {
                    let won = free.remove(&hex::encode(one.nonce.id));
                    // Whoever went away has used the nonce all the same.
                    let _ = one.taken.send(Ok(won));
                }
            }
            Err(error) => {
                tracing::warn!(error = %error.detail(), "nonces were not taken back");
                for one in batch.drain(..) {
                    let failed = Error::unavailable("the store is not reachable now: try again");
                    let _ = one.taken.send(Err(failed.retry_after(Duration::from_secs(1))));
                }
            }
        }
    }
}
