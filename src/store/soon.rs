//! Changes that nobody waits for: they ride along with the next commit, whoever's that is.
//!
//! INVARIANT: what is said by [`Store::soon`] before a change is asked for is durable when that change is. The writer
//! takes what rides after it took the changes that wait, and writes both in one commit; what rode in vain, because the
//! database failed, is kept and rides again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use tokio::sync::{Notify, mpsc};

use super::writer::{Job, falls_alone};
use super::{QUEUE, Receipt, Store, StoreError, Tx};
use crate::error::{Error, Result};

/// How long something waits for a change to ride with before it is committed alone.
const ALONE_AFTER: Duration = Duration::from_millis(50);
/// How often something rides that falls by a fault, its own or another's, before it is given up.
const RIDES: u8 = 8;

/// What rides next.
#[derive(Default)]
pub(super) struct Soon {
    riding: Mutex<Riding>,
    some: Notify,
}

#[derive(Default)]
struct Riding {
    jobs: Vec<Box<dyn Job>>,
    /// The writer is about to end.
    last: bool,
}

/// A change that nobody waits for.
struct Ride<F> {
    work: F,
    soon: Arc<Soon>,
    falls: u8,
}

#[async_trait]
impl<F> Job for Ride<F>
where
    F: for<'t> Fn(&'t Tx) -> BoxFuture<'t, Result<()>> + Send + Sync + 'static,
{
    async fn run(&mut self, tx: &Tx) -> Result<()> {
        (self.work)(tx).await
    }

    fn finish(mut self: Box<Self>, result: Result<Option<Receipt>>) {
        let Err(error) = result else { return };
        if falls_alone(&error) {
            self.falls = self.falls.saturating_add(1);
        }
        let soon = self.soon.clone();
        let mut riding = soon.riding();
        if self.falls < RIDES && !riding.last {
            riding.jobs.push(self);
        } else {
            tracing::error!(error = %error.detail(), "a change that nobody waits for was given up");
        }
    }
}

impl Soon {
    fn riding(&self) -> MutexGuard<'_, Riding> {
        self.riding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn due(&self) {
        self.some.notified().await;
        // The database's time, as the writer's deadlines are.
        let _ = tokio::time::timeout(ALONE_AFTER, std::future::pending::<()>()).await;
    }
}

/// What the writer works off.
pub(super) struct Waiting {
    jobs: mpsc::Receiver<Box<dyn Job>>,
    soon: Arc<Soon>,
}

impl Waiting {
    pub(super) fn new(jobs: mpsc::Receiver<Box<dyn Job>>, soon: Arc<Soon>) -> Self {
        Self { jobs, soon }
    }

    /// Waits for changes, and takes up to `most` with all that rides along. `false`: there is nothing left and nobody
    /// to ask for more. Nothing is lost if the future is dropped.
    pub(super) async fn next(&mut self, batch: &mut Vec<Box<dyn Job>>, most: usize) -> bool {
        let open = tokio::select! {
            biased;
            received = self.jobs.recv_many(batch, most) => received > 0,
            () = self.soon.due() => true,
        };
        let mut riding = self.soon.riding();
        riding.last |= !open;
        let jobs = std::mem::take(&mut riding.jobs);
        batch.splice(..0, jobs);
        open || !batch.is_empty()
    }
}

impl Store {
    /// Has `work` committed with the next change, or alone after a moment; it is not waited for, and a failing database
    /// only puts it off. Under kill -9 it is lost only if every change that was asked for later is lost too.
    ///
    /// INVARIANT: as for [`Store::transact`], and `work` may be committed twice, if it is not known of a commit whether
    /// it happened.
    ///
    /// # Errors
    /// `RateLimited` if too much waits already; then nothing is done.
    pub fn soon<F>(&self, work: F) -> Result<()>
    where
        F: for<'t> Fn(&'t Tx) -> BoxFuture<'t, Result<()>> + Send + Sync + 'static,
    {
        let soon = &self.0.soon;
        let ride = Ride {
            work,
            soon: soon.clone(),
            falls: 0,
        };
        {
            let mut riding = soon.riding();
            if riding.jobs.len() >= QUEUE {
                return Err(Error::from(StoreError::Busy));
            }
            riding.jobs.push(Box::new(ride));
        }
        soon.some.notify_one();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use sea_orm::{EntityTrait, PaginatorTrait};

    use super::super::entity::lease;
    use super::super::tests::{insert, open, store};
    use super::*;

    async fn count(store: &Store) -> u64 {
        lease::Entity::find().count(store.read()).await.unwrap()
    }

    #[tokio::test]
    async fn what_rides_is_there_with_the_next_change_and_alone_if_there_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        store.soon(insert("one")).unwrap();
        store.soon(insert("two")).unwrap();
        assert_eq!(count(&store).await, 0);
        store.transact(insert("three")).await.unwrap();
        assert_eq!(count(&store).await, 3);
        store.soon(insert("four")).unwrap();
        while count(&store).await < 4 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn neither_takes_the_other_down() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        store.transact(insert("taken")).await.unwrap();
        store.soon(insert("one")).unwrap();
        store.transact(insert("taken")).await.unwrap_err();
        assert_eq!(count(&store).await, 2);
        store.soon(insert("taken")).unwrap();
        store.transact(insert("two")).await.unwrap();
        assert_eq!(count(&store).await, 3);
        // It rides a few times more, then never again.
        for _ in 1..RIDES {
            assert_eq!(store.0.soon.riding().jobs.len(), 1);
            store.transact(|_| async { Ok(()) }.boxed()).await.unwrap();
        }
        assert_eq!(store.0.soon.riding().jobs.len(), 0);
    }

    #[tokio::test]
    async fn what_fell_with_its_batch_rides_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        store.soon(insert("one")).unwrap();
        store
            .transact(|_| {
                async {
                    let empty: Vec<u32> = Vec::new();
                    Ok(empty[std::hint::black_box(0)])
                }
                .boxed()
            })
            .await
            .unwrap_err();
        assert_eq!(count(&store).await, 0);
        store.transact(insert("two")).await.unwrap();
        assert_eq!(count(&store).await, 2);
    }

    #[tokio::test]
    async fn what_rides_is_there_after_an_orderly_end() {
        let folder = tempfile::tempdir().unwrap();
        let first = store(&folder).await;
        first.soon(insert("one")).unwrap();
        drop(first);
        let again = loop {
            match open(&folder).await {
                Ok(store) => break store,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        while count(&again).await < 1 {
            tokio::task::yield_now().await;
        }
    }
}
