//! Changing a secret that is there: its row first, then what stands in it.

pub(super) mod repo;

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use self::repo::Slot;
use super::describe::there;
use super::label::WhichVersion;
use super::repo as rows;
use super::version::Described;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::gate::Permit;
use crate::store::{Topic, Tx};
use crate::vault::Vault;
use crate::vault::cache::Key;
use crate::vault::retention::{Kept, stale};
use crate::vault::vaults::require_in;

/// A secret under change, its row locked until the commit, with the version that is meant.
pub(super) struct Changing {
    pub(super) key: Arc<Key>,
    pub(super) slot: Slot,
    pub(super) found: Described,
    pub(super) now: Timestamp,
}

impl Vault {
    /// Commits what `work` does with a secret and one of its versions, and answers how they are then. With `expect` only
    /// if the secret is at that revision; `Conflict` if it is another.
    pub(super) async fn change_secret<F>(
        &self,
        permit: &Permit,
        key: Key,
        wanted: WhichVersion,
        expect: Option<u64>,
        work: F,
    ) -> Result<Described>
    where
        F: for<'t> Fn(&'t Tx, &'t mut Changing) -> BoxFuture<'t, Result<()>> + Send + Sync + 'static,
    {
        let (now, cache) = (permit.now(), self.secrets.clone());
        let (key, wanted, work) = (Arc::new(key), Arc::new(wanted), Arc::new(work));
        permit
            .commit(move |tx| {
                let (key, wanted, work, cache) = (key.clone(), wanted.clone(), work.clone(), cache.clone());
                async move {
                    let mut changing = begin(tx, key, &wanted, expect, now).await?;
                    work(tx, &mut changing).await?;
                    tx.note("version", changing.found.version.ordinal.to_string());
                    tx.touch(Topic::Secrets);
                    let Changing {
                        key, mut found, slot, ..
                    } = changing;
                    found.version.labels = slot.pointers.of(found.version.ordinal);
                    tx.on_commit(move || cache.changed(&key));
                    Ok(found)
                }
                .boxed()
            })
            .await
    }
}

async fn begin(tx: &Tx, key: Arc<Key>, wanted: &WhichVersion, expect: Option<u64>, now: Timestamp) -> Result<Changing> {
    require_in(tx, &key.vault, now).await?;
    // INVARIANT: first the secret's row, which is locked until the commit, then what another node wrote to its version
    // before: what is not to be changed stays as it is, not as it was.
    let slot = repo::advance(tx, &key, expect, now).await?;
    let found = there(rows::described(tx.conn(), &key, wanted).await?, &key, wanted, now)?;
    let slot = slot.ok_or_else(|| stale(Kept::Secret, &key, found.revision))?;
    Ok(Changing { key, slot, found, now })
}
