//! The one writer of a node: group commit.
//!
//! Everything that waits is run in one transaction and made durable by one commit. The first attempt runs the closures
//! without savepoints, because almost always all of them succeed; if one fails, everything is rolled back and run
//! again with a savepoint each, so that the failing one falls alone. A failure after which the database may have lost
//! the whole transaction fails the whole batch, and the connection is discarded.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DatabaseConnection, DatabaseTransaction, DbBackend, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect, SqliteTransactionMode, TransactionOptions, TransactionTrait,
};
use tokio::sync::oneshot;

use super::entity::{change_counter, outbox, outbox_position};
use super::error::{StoreError, db_cause, is_fatal, is_retryable, is_unique_violation, leaves_commit_in_doubt};
use super::fresh::Doubts;
use super::open::Connector;
use super::soon::Waiting;
use super::tx::{Said, Tx};
use super::{CommitSink, Drained, OutboxRecord, Receipt, receipt};
use crate::error::{Error, Result};
use crate::fault;
use crate::id::Label;

/// Changes in one commit.
const BATCH: usize = 256;
/// Records that are deleted from the outbox together: two statements for all of them, not for each batch. A start finds
/// up to that many that are in the log already.
pub(super) const DRAIN: i64 = 64;
/// How long one change's closure may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// How often PostgreSQL may ask for the same batch again.
const RERUNS: u32 = 8;
/// How often it is tried to find out what became of a commit that nobody confirmed.
const SETTLE_EVERY: Duration = Duration::from_millis(500);

/// A waiting change, its type erased.
#[async_trait]
pub(super) trait Job: Send {
    /// Runs the closure; may be called again after the transaction was rolled back.
    async fn run(&mut self, tx: &Tx) -> Result<()>;

    /// Answers the caller.
    fn finish(self: Box<Self>, result: Result<Option<Receipt>>);
}

pub(super) struct Work<T, F> {
    work: F,
    value: Option<T>,
    reply: oneshot::Sender<Result<(T, Option<Receipt>)>>,
}

impl<T, F> Work<T, F> {
    pub(super) fn new(work: F, reply: oneshot::Sender<Result<(T, Option<Receipt>)>>) -> Self {
        Self {
            work,
            value: None,
            reply,
        }
    }
}

#[async_trait]
impl<T, F> Job for Work<T, F>
where
    T: Send,
    F: for<'t> Fn(&'t Tx) -> BoxFuture<'t, Result<T>> + Send + Sync,
{
    async fn run(&mut self, tx: &Tx) -> Result<()> {
        self.value = None;
        self.value = Some((self.work)(tx).await?);
        Ok(())
    }

    fn finish(self: Box<Self>, result: Result<Option<Receipt>>) {
        let answer = match (result, self.value) {
            (Ok(receipt), Some(value)) => Ok((value, receipt)),
            (Ok(_), None) => Err(Error::internal("a change was committed without a value")),
            (Err(error), _) => Err(error),
        };
        // A caller that went away needs no answer; its change stands.
        let _ = self.reply.send(answer);
    }
}

/// Starts the writer task; it ends when nobody is left who could ask for a change.
pub(super) async fn start(
    connector: Connector,
    node: Label,
    sink: Arc<OnceLock<Arc<dyn CommitSink>>>,
    doubts: Doubts,
    waiting: Waiting,
) -> Result<(), StoreError> {
    let connection = connector.connect().await?;
    let seq = last_seq(&connection, &node).await?;
    let writer = Writer {
        connector,
        connection: Some(connection),
        node,
        sink,
        seq,
        handed_over: seq,
        in_doubt: false,
        doubts,
        drained: Drained::default(),
    };
    tokio::spawn(writer.serve(waiting));
    Ok(())
}

/// The highest sequence number that this node ever gave out, as far as the store knows.
async fn last_seq(connection: &DatabaseConnection, node: &Label) -> Result<i64, StoreError> {
    let waiting: Option<i64> = outbox::Entity::find()
        .select_only()
        .column_as(outbox::Column::Seq.max(), "seq")
        .filter(outbox::Column::Node.eq(node.as_str()))
        .into_tuple::<Option<i64>>()
        .one(connection)
        .await?
        .flatten();
    let drained = outbox_position::Entity::find_by_id(node.as_str())
        .one(connection)
        .await?
        .map_or(0, |row| row.seq);
    Ok(std::cmp::max(waiting.unwrap_or(0), drained))
}

struct Writer {
    connector: Connector,
    /// `None` after a failure: connect again.
    connection: Option<DatabaseConnection>,
    node: Label,
    sink: Arc<OnceLock<Arc<dyn CommitSink>>>,
    /// The last sequence number given out.
    seq: i64,
    /// The last one that the log was told of.
    handed_over: i64,
    /// A commit may have happened that nobody was told of.
    in_doubt: bool,
    /// Tells the caches of this node.
    doubts: Doubts,
    /// What was deleted from the outbox.
    drained: Drained,
}

/// For each change its result, with whether it left a record; and the receipt of all records.
type Attempted = (Vec<Result<bool>>, Option<Receipt>);

/// How an attempt at a batch ended short of a commit.
enum Failed {
    /// One change failed in a batch without savepoints: roll back and run each with its own.
    NeedsSavepoints,
    /// PostgreSQL asks to run it again.
    Again(StoreError),
    /// Nobody may be acknowledged.
    All(StoreError),
}

impl Writer {
    async fn serve(mut self, mut waiting: Waiting) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let more = if self.in_doubt {
                // Nobody has to ask for a change before the doubt is settled.
                if let Err(error) = self.connection().await {
                    tracing::warn!(%error, "it is not known yet whether a change was committed");
                }
                match tokio::time::timeout(SETTLE_EVERY, waiting.next(&mut batch, BATCH)).await {
                    Ok(more) => more,
                    Err(_) => continue,
                }
            } else {
                waiting.next(&mut batch, BATCH).await
            };
            if !more {
                return;
            }
            self.run(std::mem::take(&mut batch)).await;
        }
    }

    async fn run(&mut self, mut batch: Vec<Box<dyn Job>>) {
        let mut savepoints = false;
        let mut reruns = 0;
        loop {
            let failure = match self.attempt(&mut batch, savepoints).await {
                Ok((results, durable)) => {
                    for (job, result) in batch.into_iter().zip(results) {
                        job.finish(result.map(|recorded| durable.clone().filter(|_| recorded)));
                    }
                    return;
                }
                Err(Failed::NeedsSavepoints) => {
                    savepoints = true;
                    continue;
                }
                Err(Failed::Again(failure)) => {
                    reruns += 1;
                    if reruns <= RERUNS {
                        continue;
                    }
                    failure
                }
                Err(Failed::All(failure)) => failure,
            };
            tracing::error!(store.batch = batch.len(), error = %failure, "a batch of changes failed");
            self.discard().await;
            // A number of the outbox that is taken was taken by a commit that was in doubt and came after all.
            let came_late = matches!(&failure, StoreError::Db(error) if is_unique_violation(error));
            if came_late || matches!(failure, StoreError::CommitUnknown) {
                self.in_doubt = true;
                self.doubts.open();
            }
            for job in batch {
                job.finish(Err(again(&failure).into()));
            }
            return;
        }
    }

    /// Runs the batch once.
    async fn attempt(&mut self, batch: &mut [Box<dyn Job>], savepoints: bool) -> Result<Attempted, Failed> {
        let connection = self.connection().await.map_err(Failed::All)?;
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let begun = match connection.get_database_backend() {
            DbBackend::Sqlite => connection.begin_with_options(options).await,
            _ => connection.begin().await,
        };
        let outer = Arc::new(begun.map_err(classed)?);

        let batch_len = batch.len();
        let mut results = Vec::with_capacity(batch.len());
        let mut said = Said::default();
        for job in batch.iter_mut() {
            let tx = Tx::new(if savepoints {
                Arc::new(outer.begin().await.map_err(classed)?)
            } else {
                outer.clone()
            });
            let work = async {
                job.run(&tx).await?;
                // With a savepoint of its own it shares nothing.
                if savepoints || !tx.may_share() {
                    tx.write_alone().await?;
                }
                Ok(())
            };
            let ran = tokio::time::timeout(DEADLINE, AssertUnwindSafe(work).catch_unwind()).await;
            let Tx { conn, said: its, .. } = tx;
            let result = match ran {
                Err(_) => return Err(Failed::All(StoreError::Deadline)),
                Ok(Err(_)) => return Err(Failed::All(StoreError::Panicked)),
                Ok(Ok(result)) => result,
            };
            let result = match result {
                Err(error) if !savepoints || !falls_alone(&error) => {
                    drop(conn);
                    return fall(error, outer, batch_len == 1).await;
                }
                result => result,
            };
            if savepoints {
                let own = Arc::into_inner(conn).ok_or(Failed::All(StoreError::Panicked))?;
                let ended = if result.is_ok() {
                    own.commit().await
                } else {
                    own.rollback().await
                };
                ended.map_err(classed)?;
            }
            let its = its.into_inner().unwrap_or_else(PoisonError::into_inner);
            results.push(result.map(|()| !its.records.is_empty()));
            if results.last().is_some_and(Result::is_ok) {
                said.extend(its);
            }
        }

        if let Err(error) = std::mem::take(&mut said.parts).write(&outer).await {
            return fall(error, outer, batch_len == 1).await;
        }
        let (records, drained) = self.finish_batch(&outer, &mut said).await.map_err(classed)?;
        let outer = Arc::into_inner(outer).ok_or(Failed::All(StoreError::Panicked))?;
        fault::point("store.commit.before");
        // CRASH: before the commit nothing of the batch exists; after it, everything, and the outbox rows lead the log
        // to the records that were not handed over.
        if let Err(error) = outer.commit().await {
            return Err(if is_retryable(&error) {
                Failed::Again(StoreError::Db(error))
            } else if leaves_commit_in_doubt(&error) {
                Failed::All(StoreError::CommitUnknown)
            } else {
                Failed::All(StoreError::Db(error))
            });
        }
        fault::point("store.commit.after");
        Ok((results, self.committed(records, drained, said.hooks)))
    }

    /// The statements that a batch shares: outbox rows, change counters, and the outbox's drained part.
    async fn finish_batch(
        &self,
        outer: &DatabaseTransaction,
        said: &mut Said,
    ) -> Result<(Vec<OutboxRecord>, Drained), sea_orm::DbErr> {
        let (records, topics) = (std::mem::take(&mut said.records), std::mem::take(&mut said.topics));
        let records: Vec<_> = records
            .into_iter()
            .zip(self.seq.saturating_add(1)..)
            .map(|((id, bytes), seq)| OutboxRecord { seq, id, bytes })
            .collect();
        if !records.is_empty() {
            outbox::Entity::insert_many(records.iter().map(|record| outbox::ActiveModel {
                node: Set(self.node.to_string()),
                seq: Set(record.seq),
                record_id: Set(record.id.clone()),
                record: Set(record.bytes.clone()),
            }))
            .exec_without_returning(outer)
            .await?;
        }
        if self.is_postgres() {
            for topic in topics {
                change_counter::Entity::insert(change_counter::ActiveModel {
                    node: Set(self.node.to_string()),
                    topic: Set(topic.as_str().to_owned()),
                    value: Set(1),
                })
                .on_conflict(
                    OnConflict::columns([change_counter::Column::Node, change_counter::Column::Topic])
                        .value(
                            change_counter::Column::Value,
                            Expr::col((change_counter::Entity, change_counter::Column::Value)).add(1),
                        )
                        .to_owned(),
                )
                .exec_without_returning(outer)
                .await?;
            }
        }
        let drained = self.sink.get().map_or(self.drained, |sink| sink.drained());
        if drained.seq >= self.drained.seq.saturating_add(DRAIN) {
            outbox::Entity::delete_many()
                .filter(outbox::Column::Node.eq(self.node.as_str()))
                .filter(outbox::Column::Seq.lte(drained.seq))
                .exec(outer)
                .await?;
            outbox_position::Entity::insert(outbox_position::ActiveModel {
                node: Set(self.node.to_string()),
                seq: Set(drained.seq),
                log_size: Set(drained.log_size),
            })
            .on_conflict(
                OnConflict::column(outbox_position::Column::Node)
                    .update_columns([outbox_position::Column::Seq, outbox_position::Column::LogSize])
                    .to_owned(),
            )
            .exec_without_returning(outer)
            .await?;
            return Ok((records, drained));
        }
        Ok((records, self.drained))
    }

    /// After the commit, before anybody is answered: caches are dropped, and the log takes the records over.
    fn committed(
        &mut self,
        records: Vec<OutboxRecord>,
        drained: Drained,
        hooks: Vec<Box<dyn FnOnce() + Send>>,
    ) -> Option<Receipt> {
        self.drained = drained;
        for hook in hooks {
            if std::panic::catch_unwind(AssertUnwindSafe(hook)).is_err() {
                tracing::error!("a cache could not be dropped after a commit");
            }
        }
        let last = records.last()?.seq;
        self.seq = last;
        let sink = self.sink.get()?;
        self.handed_over = last;
        Some(receipt(sink.committed(records)))
    }

    /// The connection, made anew if it was discarded. If a commit was in doubt, it is decided first, and its records are
    /// looked for.
    async fn connection(&mut self) -> Result<DatabaseConnection, StoreError> {
        if let Some(connection) = &self.connection {
            return Ok(connection.clone());
        }
        let connection = self.connector.connect().await?;
        if self.in_doubt {
            self.connector.end_others(&connection).await?;
            self.hand_over_the_doubtful(&connection).await?;
            self.doubts.close();
            self.in_doubt = false;
        }
        self.connection = Some(connection.clone());
        Ok(connection)
    }

    async fn hand_over_the_doubtful(&mut self, connection: &DatabaseConnection) -> Result<(), StoreError> {
        let rows = outbox::Entity::find()
            .filter(outbox::Column::Node.eq(self.node.as_str()))
            .filter(outbox::Column::Seq.gt(self.handed_over))
            .order_by_asc(outbox::Column::Seq)
            .all(connection)
            .await?;
        let records: Vec<_> = rows
            .into_iter()
            .map(|row| OutboxRecord {
                seq: row.seq,
                id: row.record_id,
                bytes: row.record,
            })
            .collect();
        let Some(last) = records.last().map(|record| record.seq) else {
            return Ok(());
        };
        self.seq = std::cmp::max(self.seq, last);
        if let Some(sink) = self.sink.get() {
            self.handed_over = last;
            // Durability is awaited by the log's own drained position; nobody waits for these changes any more.
            tokio::spawn(sink.committed(records));
        }
        Ok(())
    }

    async fn discard(&mut self) {
        if let Some(connection) = self.connection.take() {
            // A close that hangs must not stop the writer; the connection is dropped either way.
            let _ = tokio::time::timeout(Duration::from_secs(1), connection.close()).await;
        }
    }

    fn is_postgres(&self) -> bool {
        self.connection
            .as_ref()
            .is_some_and(|c| c.get_database_backend() == DbBackend::Postgres)
    }
}

/// Ends an attempt in which a change failed: rolls everything back, and says what to do with the batch.
async fn fall(error: Error, outer: Arc<DatabaseTransaction>, alone: bool) -> Result<Attempted, Failed> {
    if let Some(db) = db_cause(&error).filter(|db| is_fatal(db)) {
        return Err(Failed::All(StoreError::Db(db.clone())));
    }
    if let Some(outer) = Arc::into_inner(outer) {
        // A rollback that fails leaves a connection that the next begin finds broken.
        if let Err(error) = outer.rollback().await {
            tracing::warn!(%error, "rollback failed");
        }
    }
    match db_cause(&error).filter(|db| is_retryable(db)) {
        Some(db) => Err(Failed::Again(StoreError::Db(db.clone()))),
        None if alone => Ok((vec![Err(error)], None)),
        None => Err(Failed::NeedsSavepoints),
    }
}

/// Whether an error is the failed change's own affair.
pub(super) fn falls_alone(error: &Error) -> bool {
    !db_cause(error).is_some_and(|db| is_retryable(db) || is_fatal(db))
}

fn classed(error: sea_orm::DbErr) -> Failed {
    if is_retryable(&error) {
        Failed::Again(StoreError::Db(error))
    } else {
        Failed::All(StoreError::Db(error))
    }
}

/// The same failure once more, for the next caller of the batch.
fn again(failure: &StoreError) -> StoreError {
    match failure {
        StoreError::BadUrl(url) => StoreError::BadUrl(url.clone()),
        StoreError::Locked(path) => StoreError::Locked(path.clone()),
        StoreError::NodeInUse(node) => StoreError::NodeInUse(node.clone()),
        StoreError::Db(error) => StoreError::Db(error.clone()),
        StoreError::Io(path, error) => {
            StoreError::Io(path.clone(), std::io::Error::new(error.kind(), error.to_string()))
        }
        StoreError::Closed => StoreError::Closed,
        StoreError::Busy => StoreError::Busy,
        StoreError::Deadline => StoreError::Deadline,
        StoreError::Panicked => StoreError::Panicked,
        StoreError::CommitUnknown => StoreError::CommitUnknown,
    }
}
