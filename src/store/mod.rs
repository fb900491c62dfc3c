//! The database: one way to read, one way to write, on SQLite and PostgreSQL alike.
//!
//! It holds connections, the group-committing writer, leases and the counters by which nodes see each other's changes.
//! It must never hold a rule of the house: which rows mean what is said in the rooms' `repo.rs` files, the only places
//! beside this room that see [`entity`]. A new table is a migration, a file in `entity/` and a room's repo.

mod dump;
pub mod entity;
mod error;
mod fresh;
mod hold;
mod intent;
mod lease;
mod open;
mod restore;
mod soon;
mod together;
mod tx;
mod writer;

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use sea_orm::DatabaseConnection;
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};

pub use self::dump::{Cell, Rows, Snapshot, Table, tables};
pub use self::error::{StoreError, is_commit_unknown, is_unique_violation};
pub use self::fresh::Topic;
pub use self::intent::OpenIntent;
pub use self::restore::Restoring;
pub use self::together::Together;
pub use self::tx::Tx;
use self::writer::{Job, Work};
use crate::error::{Error, Result};
use crate::id::Label;

/// How many changes may wait for the writer before callers are turned away.
const QUEUE: usize = 4096;

/// Which database to use.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `sqlite:PATH` (made if missing) or `postgres://USER@HOST/DATABASE`.
    pub url: String,
}

/// An audit record that was committed together with its change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRecord {
    /// Commit order within this node, gapless but for changes that failed.
    pub seq: i64,
    /// The record's id, 32 hexadecimal digits.
    pub id: String,
    /// The leaf bytes.
    pub bytes: Vec<u8>,
}

/// How far the log has taken over the outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Every record up to this sequence number is durable in the log.
    pub seq: i64,
    /// The size of the log at that time; a record with a later sequence number stands at this index or behind it.
    pub log_size: i64,
}

/// Takes over committed records: the audit log.
pub trait CommitSink: Send + Sync {
    /// Called by the writer in commit order, before any caller is answered. Must enqueue before it returns; the future
    /// resolves once the records are durable.
    fn committed(&self, records: Vec<OutboxRecord>) -> BoxFuture<'static, Result<()>>;

    /// What may be deleted from the outbox.
    fn drained(&self) -> Drained;
}

/// The store of one node. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    node: Label,
    read: DatabaseConnection,
    jobs: mpsc::Sender<Box<dyn Job>>,
    soon: Arc<soon::Soon>,
    fresh: fresh::Fresh,
    sink: Arc<std::sync::OnceLock<Arc<dyn CommitSink>>>,
    /// Held so that a second process on the same SQLite file, or under the same node's name, is refused.
    _lock: open::Lock,
}

impl Store {
    /// Opens the database, brings its schema up to date and starts the writer. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`StoreError::BadUrl`], [`StoreError::Locked`] for a SQLite file that another process has open,
    /// [`StoreError::NodeInUse`] for a name that another process on PostgreSQL has, or the database's own error.
    pub async fn open(settings: &Settings, node: &Label) -> Result<Self, StoreError> {
        let opened = open::open(&settings.url, node).await?;
        let sink = Arc::new(std::sync::OnceLock::new());
        let fresh = fresh::Fresh::start(&opened.read, node, opened.shared);
        let (jobs, waiting) = mpsc::channel(QUEUE);
        let soon = Arc::new(soon::Soon::default());
        let waiting = soon::Waiting::new(waiting, soon.clone());
        writer::start(opened.writer, node.clone(), sink.clone(), fresh.doubts(), waiting).await?;
        Ok(Self(Arc::new(Inner {
            node: node.clone(),
            read: opened.read,
            jobs,
            soon,
            fresh,
            sink,
            _lock: opened.lock,
        })))
    }

    /// The connections for reading. Only `repo.rs` files use it.
    pub fn read(&self) -> &DatabaseConnection {
        &self.0.read
    }

    /// The name of this node.
    pub fn node(&self) -> &Label {
        &self.0.node
    }

    /// Names the audit log that takes over committed records. Until then records wait in the outbox, where the log
    /// finds them when it starts. A second call changes nothing.
    pub fn attach_sink(&self, sink: Arc<dyn CommitSink>) {
        let _ = self.0.sink.set(sink);
    }

    /// Runs `work` in a transaction, together with whatever else waits, and answers once it is committed and its audit
    /// records are durable in the log. This is the one way to write.
    ///
    /// INVARIANT: `work` may be run more than once (in a batch of which another part failed, or when PostgreSQL asks
    /// for it), and it awaits nothing but the transaction. Dropping the returned future does not stop it.
    ///
    /// # Errors
    /// What `work` returned, after which nothing of it is in the database; else a [`StoreError`] as `Unavailable`.
    pub async fn transact<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t Tx) -> BoxFuture<'t, Result<T>> + Send + Sync + 'static,
    {
        let (value, receipt) = self.submit(work).await?;
        if let Some(receipt) = receipt {
            receipt.await.map_err(|cause| {
                Error::unavailable(
                    "the change is made, but its audit record is not durable yet: look before you try again",
                )
                .because(cause)
            })?;
        }
        Ok(value)
    }

    /// As [`Store::transact`], but answers once `work` is committed: its records are in the outbox and on their way to
    /// the log. For the first of two changes of one act: whoever waits for the second one's records has waited for the
    /// first one's too, since the log takes them in commit order.
    ///
    /// # Errors
    /// As [`Store::transact`].
    pub async fn commit<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t Tx) -> BoxFuture<'t, Result<T>> + Send + Sync + 'static,
    {
        Ok(self.submit(work).await?.0)
    }

    async fn submit<T, F>(&self, work: F) -> Result<(T, Option<Receipt>)>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t Tx) -> BoxFuture<'t, Result<T>> + Send + Sync + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.0
            .jobs
            .try_send(Box::new(Work::new(work, reply)))
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => StoreError::Busy,
                mpsc::error::TrySendError::Closed(_) => StoreError::Closed,
            })?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// The generation of what *other* nodes changed under `topic`. A cache that was filled under one generation is
    /// stale under the next. So is one that was filled before a commit of this node of which nobody knows whether it
    /// happened. On SQLite there are no other nodes, and only the latter counts.
    ///
    /// The answer is at least as new as every commit that was acknowledged before the call: on PostgreSQL it is one
    /// query, shared by all callers that wait at the same time.
    ///
    /// # Errors
    /// `Unavailable` if the database cannot be asked.
    pub async fn fresh(&self, topic: Topic) -> Result<u64> {
        self.0.fresh.generation(topic).await
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// The database's.
    pub async fn ping(&self) -> Result<()> {
        Ok(self.0.read.ping().await?)
    }

    /// Whether several nodes may share this database.
    pub fn is_shared(&self) -> bool {
        self.0.fresh.is_shared()
    }
}

/// A future of a batch's records being durable, shared by its callers.
type Receipt = futures::future::Shared<BoxFuture<'static, Result<(), Arc<Error>>>>;

fn receipt(durable: BoxFuture<'static, Result<()>>) -> Receipt {
    durable.map(|result| result.map_err(Arc::new)).boxed().shared()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use sea_orm::{ActiveValue::Set, EntityTrait, PaginatorTrait};

    use super::*;
    use crate::clock::Timestamp;
    use crate::error::Kind;

    pub(super) async fn open(folder: &tempfile::TempDir) -> Result<Store, StoreError> {
        let url = format!("sqlite:{}", folder.path().join("chancery.db").display());
        Store::open(&Settings { url }, &"n1".parse().unwrap()).await
    }

    pub(super) async fn store(folder: &tempfile::TempDir) -> Store {
        open(folder).await.unwrap()
    }

    pub(super) fn insert(
        name: &'static str,
    ) -> impl for<'t> Fn(&'t Tx) -> BoxFuture<'t, Result<()>> + Send + Sync + 'static {
        move |tx| {
            async move {
                entity::lease::Entity::insert(entity::lease::ActiveModel {
                    name: Set(name.to_owned()),
                    holder: Set("x".to_owned()),
                    expires_at: Set(1),
                })
                .exec_without_returning(tx.conn())
                .await?;
                tx.record(format!("record of {name}"), vec![1]);
                Ok(())
            }
            .boxed()
        }
    }

    /// A change that leaves a record and no row.
    fn only_record() -> impl for<'t> Fn(&'t Tx) -> BoxFuture<'t, Result<()>> + Send + Sync + 'static {
        |tx| {
            async move {
                tx.record("a record".to_owned(), vec![1]);
                Ok(())
            }
            .boxed()
        }
    }

    #[derive(Default)]
    struct Sink(Mutex<Vec<OutboxRecord>>);

    impl CommitSink for Sink {
        fn committed(&self, records: Vec<OutboxRecord>) -> BoxFuture<'static, Result<()>> {
            self.0.lock().unwrap().extend(records);
            async { Ok(()) }.boxed()
        }

        fn drained(&self) -> Drained {
            let seq = self.0.lock().unwrap().last().map_or(0, |record| record.seq);
            Drained { seq, log_size: seq }
        }
    }

    #[tokio::test]
    async fn a_failing_change_falls_alone_and_leaves_no_record() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        let sink = Arc::new(Sink::default());
        store.attach_sink(sink.clone());
        store.transact(insert("taken")).await.unwrap();

        // One task polls all four before the writer wakes, so that they share a batch.
        let (a, b, c, d) = tokio::join!(
            store.transact(insert("one")),
            store.transact(insert("taken")),
            store.transact(insert("two")),
            store.transact(|_| async { Err::<(), _>(Error::conflict("no")) }.boxed()),
        );
        a.unwrap();
        assert!(b.is_err());
        c.unwrap();
        assert_eq!(d.unwrap_err().kind(), Kind::Conflict);

        assert_eq!(entity::lease::Entity::find().count(store.read()).await.unwrap(), 3);
        let recorded: Vec<_> = sink.0.lock().unwrap().iter().map(|record| record.id.clone()).collect();
        assert_eq!(recorded, ["record of taken", "record of one", "record of two"]);
    }

    /// A row that is written by one statement with those of the whole batch.
    struct Row(&'static str);

    /// How many rows each statement wrote.
    static WRITTEN: Mutex<Vec<usize>> = Mutex::new(Vec::new());

    impl Together for Row {
        async fn write(parts: Vec<Self>, conn: &sea_orm::DatabaseTransaction) -> Result<()> {
            let count = parts.len();
            let rows = parts.into_iter().map(|Self(name)| entity::lease::ActiveModel {
                name: Set(name.to_owned()),
                holder: Set("x".to_owned()),
                expires_at: Set(1),
            });
            entity::lease::Entity::insert_many(rows)
                .exec_without_returning(conn)
                .await?;
            WRITTEN.lock().unwrap().push(count);
            Ok(())
        }
    }

    #[tokio::test]
    async fn one_statement_writes_what_a_batch_does_alike_and_the_failing_part_falls_alone() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        let add = |name: &'static str| {
            store.transact(move |tx| {
                tx.together(Row(name));
                async { Ok(()) }.boxed()
            })
        };
        let (a, b, c) = tokio::join!(add("one"), add("two"), add("three"));
        for added in [a, b, c] {
            added.unwrap();
        }
        let (a, b, c) = tokio::join!(add("four"), add("one"), add("five"));
        a.unwrap();
        b.unwrap_err();
        c.unwrap();
        assert_eq!(entity::lease::Entity::find().count(store.read()).await.unwrap(), 5);
        assert_eq!(*WRITTEN.lock().unwrap(), [3, 1, 1]);

        // What looks before it writes is not torn apart: whoever comes next in the batch sees both halves.
        let mixed = store.transact(|tx| {
            async {
                let before: u64 = entity::lease::Entity::find().count(tx.conn()).await?;
                tx.together(Row("six"));
                Ok(before)
            }
            .boxed()
        });
        let next = store.transact(|tx| async { Ok(entity::lease::Entity::find().count(tx.conn()).await?) }.boxed());
        let (before, after) = tokio::join!(mixed, next);
        assert_eq!((before.unwrap(), after.unwrap()), (5, 6));
    }

    #[tokio::test]
    async fn a_panic_fails_its_batch_and_the_next_change_works() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        let (panicked, other) = tokio::join!(
            store.transact(|_| {
                async move {
                    let empty: Vec<u32> = Vec::new();
                    Ok(empty[std::hint::black_box(0)])
                }
                .boxed()
            }),
            store.transact(insert("beside")),
        );
        assert_eq!(panicked.unwrap_err().kind(), Kind::Internal);
        assert!(other.is_err(), "nobody in the batch may be acknowledged");
        store.transact(insert("beside")).await.unwrap();
    }

    #[tokio::test]
    async fn the_outbox_is_emptied_by_later_commits_and_numbers_are_not_used_twice() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        store.transact(insert("before the log")).await.unwrap();
        store.attach_sink(Arc::new(Sink::default()));
        for _ in 1..writer::DRAIN {
            store.transact(only_record()).await.unwrap();
        }
        let waiting = entity::outbox::Entity::find().count(store.read()).await.unwrap();
        assert_eq!(
            waiting,
            u64::try_from(writer::DRAIN).unwrap(),
            "not yet worth a statement"
        );
        store.transact(only_record()).await.unwrap();
        let waiting = entity::outbox::Entity::find().all(store.read()).await.unwrap();
        assert_eq!(
            waiting.iter().map(|row| row.seq).collect::<Vec<_>>(),
            [writer::DRAIN + 1]
        );
        drop(store);

        let store = loop {
            let url = format!("sqlite:{}", folder.path().join("chancery.db").display());
            match Store::open(&Settings { url }, &"n1".parse().unwrap()).await {
                Ok(store) => break store,
                Err(StoreError::Locked(_)) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        };
        store.transact(insert("c")).await.unwrap();
        let last = entity::outbox::Entity::find()
            .all(store.read())
            .await
            .unwrap()
            .pop()
            .unwrap();
        assert_eq!(last.seq, writer::DRAIN + 2);
    }

    #[tokio::test]
    async fn a_second_process_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let _first = store(&folder).await;
        let url = format!("sqlite:{}", folder.path().join("chancery.db").display());
        let second = Store::open(&Settings { url }, &"n2".parse().unwrap()).await;
        assert!(matches!(second, Err(StoreError::Locked(_))));
    }

    #[tokio::test]
    async fn a_hook_runs_before_the_caller_is_answered_and_only_after_a_commit() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        let seen = Arc::new(Mutex::new(Vec::new()));
        for fails in [false, true] {
            let note = seen.clone();
            let result = store
                .transact(move |tx| {
                    let note = note.clone();
                    tx.on_commit(move || note.lock().unwrap().push(fails));
                    async move { if fails { Err(Error::conflict("no")) } else { Ok(()) } }.boxed()
                })
                .await;
            assert_eq!(result.is_err(), fails);
        }
        assert_eq!(*seen.lock().unwrap(), [false]);
    }

    #[tokio::test]
    async fn a_lease_has_one_holder_until_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        let now = Timestamp::from_unix(100);
        assert!(store.lease("renewals", Duration::from_secs(30), now).await.unwrap());
        assert!(
            store.lease("renewals", Duration::from_secs(30), now).await.unwrap(),
            "extended by its holder"
        );
        store.release("renewals").await.unwrap();
        store.transact(insert("other")).await.unwrap();
        assert!(
            store.lease("other", Duration::from_secs(30), now).await.unwrap(),
            "ended at 1"
        );
    }
}
