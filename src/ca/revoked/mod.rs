//! What an issuer revoked: in the store in the order of its making, and here encoded for its lists.
//!
//! Each entry is encoded once and kept, so that a list costs a copy and a signature, whatever its length; what was
//! revoked since is read from the store, on whatever node it was revoked. Entries that expired leave when all is read
//! anew, which is once in half the life of a list.
//!
//! It must never hold an entry that is not committed, or decide what is revoked.

pub(super) mod repo;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::error::Result;
use crate::store::Store;
use crate::x509::crl::Entries;

/// The entries of all lists of one issuer.
#[derive(Default)]
pub(super) struct Rolls {
    /// Where in the order of revocations the rest begins.
    place: (i64, String),
    /// When all was read.
    read_at: Option<Timestamp>,
    shards: BTreeMap<u32, Entries>,
    /// The last revocation that is in.
    until: i64,
}

impl Rolls {
    /// Takes in what the issuer revoked up to now. Entries stay for `grace` beyond their certificates' ends, and are
    /// all read anew when half of it is over.
    pub(super) async fn catch_up(&mut self, store: &Store, label: &str, now: Timestamp, grace: Duration) -> Result<()> {
        if self.read_at.is_none_or(|at| now.since(at) >= grace / 2 || now < at) {
            return self.read_all(store, label, now, grace).await;
        }
        while let Some((revoked, next)) = repo::since(store.read(), label, &self.place).await? {
            for one in &revoked {
                self.shards.entry(one.shard).or_default().push(&one.entry)?;
            }
            self.until = next.0;
            self.place = next;
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn read_all(&mut self, store: &Store, label: &str, now: Timestamp, grace: Duration) -> Result<()> {
        let until = super::issuers::repo::issuer(store.read(), label)
            .await?
            .map_or(0, |(_, revision)| revision);
        let mut shards: BTreeMap<u32, Entries> = BTreeMap::new();
        let mut place = repo::start();
        // RFC 5280 §3.3: an entry stays until it was on one list issued after the certificate's end.
        while let Some((revoked, next)) = repo::unexpired(store.read(), label, now - grace, until, &place).await? {
            for one in &revoked {
                shards.entry(one.shard).or_default().push(&one.entry)?;
            }
            place = next;
            tokio::task::yield_now().await;
        }
        *self = Self {
            place: (until.saturating_add(1), String::new()),
            read_at: Some(now),
            shards,
            until,
        };
        Ok(())
    }

    /// The entries of a list, and the last revocation that is in.
    pub(super) fn of(&self, shard: u32) -> (Entries, i64) {
        (self.shards.get(&shard).cloned().unwrap_or_default(), self.until)
    }
}
