//! The index's rows: in a database of its own beside a journal, or in the store beside the records that are rows there.
//!
//! The file holds nothing that the log does not: if it is lost, damaged or of another version, it is made anew. So a
//! commit to it waits for no disk.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::FutureExt as _;
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict};
use sea_orm::{
    ColumnTrait as _, ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbErr, EntityTrait as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _, Schema, TransactionTrait as _,
};
use sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use tokio::sync::Mutex;

use super::postings::Chunk;
use crate::audit::tree::Hash;
use crate::error::{Error, Result};
use crate::store::entity::{audit_chunk, audit_posting, audit_rebuild};
use crate::store::{Store, Tx};

/// The file's name. Another form of the index has another name.
const FILE: &str = "search-1.db";
const CONNECTIONS: u32 = 4;

/// Where the index is.
pub(in super::super) enum Place {
    File(File),
    Store(Store),
}

/// A database file of its own. It is made when there is something to keep.
pub(in super::super) struct File {
    path: PathBuf,
    open: Mutex<Option<DatabaseConnection>>,
}

impl Place {
    pub(in super::super) fn beside(journal: &Path) -> Self {
        Self::File(File {
            path: journal.join(FILE),
            open: Mutex::new(None),
        })
    }

    /// To read from; `None` if there is nothing yet.
    async fn read(&self) -> Result<Option<DatabaseConnection>> {
        match self {
            Self::File(file) => file.connection(false).await,
            Self::Store(store) => Ok(Some(store.read().clone())),
        }
    }

    /// How many stretches of `log` it holds, and the root of the last one.
    pub(super) async fn held(&self, log: &str) -> Result<Option<(u64, Vec<u8>)>> {
        let Some(read) = self.read().await? else {
            return Ok(None);
        };
        let last = audit_chunk::Entity::find()
            .filter(audit_chunk::Column::Log.eq(log))
            .order_by_desc(audit_chunk::Column::Chunk)
            .one(&read)
            .await?;
        Ok(last.map(|row| (unsigned(row.chunk) + 1, row.root)))
    }

    /// The first and the last stretch of `log` with times from `since` on and before `until`.
    pub(super) async fn span(&self, log: &str, since: Option<i64>, until: Option<i64>) -> Result<Option<(u64, u64)>> {
        let Some(read) = self.read().await? else {
            return Ok(None);
        };
        let within = || {
            let mut rows = audit_chunk::Entity::find().filter(audit_chunk::Column::Log.eq(log));
            if let Some(since) = since {
                rows = rows.filter(audit_chunk::Column::LastMs.gte(since));
            }
            if let Some(until) = until {
                rows = rows.filter(audit_chunk::Column::FirstMs.lt(until));
            }
            rows.select_only().column(audit_chunk::Column::Chunk)
        };
        // Both ends are found by the key's order; what is passed over is a row for thousands of records.
        let first = within()
            .order_by_asc(audit_chunk::Column::Chunk)
            .into_tuple::<i64>()
            .one(&read)
            .await?;
        let last = within()
            .order_by_desc(audit_chunk::Column::Chunk)
            .into_tuple::<i64>()
            .one(&read)
            .await?;
        Ok(first.zip(last).map(|(first, last)| (unsigned(first), unsigned(last))))
    }

    /// Of each of the stretches `first..=last` the rows of these buckets.
    pub(super) async fn rows(
        &self,
        log: &str,
        buckets: &[u8],
        (first, last): (u64, u64),
    ) -> Result<Vec<(u64, u8, Vec<u8>)>> {
        let Some(read) = self.read().await? else {
            return Ok(Vec::new());
        };
        let buckets = buckets.iter().map(|bucket| i32::from(*bucket));
        let rows = audit_posting::Entity::find()
            .filter(audit_posting::Column::Log.eq(log))
            .filter(audit_posting::Column::Bucket.is_in(buckets))
            .filter(audit_posting::Column::Chunk.between(signed(first), signed(last)))
            .all(&read)
            .await?;
        let rows = rows.into_iter().filter_map(|row| {
            let bucket = u8::try_from(row.bucket).ok()?;
            Some((unsigned(row.chunk), bucket, row.postings))
        });
        Ok(rows.collect())
    }

    /// Where records of a stretch lie in the journal.
    pub(super) async fn offsets(&self, log: &str, chunk: u64) -> Result<Vec<u64>> {
        let Some(read) = self.read().await? else {
            return Ok(Vec::new());
        };
        let row = audit_chunk::Entity::find_by_id((log.to_owned(), signed(chunk)))
            .one(&read)
            .await?;
        let offsets = row.map(|row| row.offsets).unwrap_or_default();
        let (offsets, _) = offsets.as_chunks::<8>();
        Ok(offsets.iter().map(|offset| u64::from_le_bytes(*offset)).collect())
    }

    /// The roots of the first `count` stretches of a log.
    pub(super) async fn roots(&self, log: &str, count: u64) -> Result<Vec<Vec<u8>>> {
        let Some(read) = self.read().await? else {
            return Ok(Vec::new());
        };
        let roots = audit_chunk::Entity::find()
            .filter(audit_chunk::Column::Log.eq(log))
            .filter(audit_chunk::Column::Chunk.lt(signed(count)))
            .order_by_asc(audit_chunk::Column::Chunk)
            .select_only()
            .column(audit_chunk::Column::Root)
            .into_tuple::<Vec<u8>>()
            .all(&read)
            .await?;
        Ok(roots)
    }

    /// Keeps a stretch, whose records have this root; `anew`, in place of every row that is there of it.
    pub(super) async fn keep(&self, log: &str, chunk: u64, root: Hash, held: Chunk, anew: bool) -> Result<()> {
        let row = audit_chunk::ActiveModel {
            log: Set(log.to_owned()),
            chunk: Set(signed(chunk)),
            first_ms: Set(held.first_ms),
            last_ms: Set(held.last_ms),
            root: Set(root.to_vec()),
            offsets: Set(held.offsets),
        };
        let rows = held
            .rows
            .into_iter()
            .map(|(bucket, postings)| audit_posting::ActiveModel {
                log: Set(log.to_owned()),
                bucket: Set(i32::from(bucket)),
                chunk: Set(signed(chunk)),
                postings: Set(postings),
            });
        let rows: Vec<_> = rows.collect();
        match self {
            Self::File(file) => {
                let Some(connection) = file.connection(true).await? else {
                    return Err(Error::internal("the audit log's index cannot be made"));
                };
                let tx = connection.begin().await?;
                if anew {
                    clear(&tx, log, chunk).await?;
                }
                insert(&tx, row, rows).await?;
                Ok(tx.commit().await?)
            }
            Self::Store(store) => {
                let log = log.to_owned();
                store
                    .transact(move |tx| {
                        let (log, row, rows) = (log.clone(), row.clone(), rows.clone());
                        async move {
                            if anew {
                                clear(tx.conn(), &log, chunk).await?;
                            }
                            Ok(insert(tx.conn(), row, rows).await?)
                        }
                        .boxed()
                    })
                    .await
            }
        }
    }

    /// Forgets a log; a file that cannot be written any more goes as a whole.
    pub(super) async fn forget(&self, log: &str) -> Result<()> {
        match self {
            Self::File(file) => {
                let forgotten = match file.connection(false).await {
                    Ok(Some(connection)) => delete(&connection, log).await.map_err(Error::from),
                    Ok(None) => Ok(()),
                    Err(error) => Err(error),
                };
                match forgotten {
                    Ok(()) => Ok(()),
                    Err(_) => file.remove().await,
                }
            }
            Self::Store(store) => {
                let log = log.to_owned();
                store
                    .transact(move |tx| {
                        let log = log.clone();
                        async move { Ok(delete(tx.conn(), &log).await?) }.boxed()
                    })
                    .await
            }
        }
    }

    /// Lets go of the file.
    pub(super) async fn close(&self) {
        if let Self::File(file) = self
            && let Some(connection) = file.open.lock().await.take()
        {
            let _ = connection.close().await;
        }
    }
}

impl File {
    /// The connections; without `make`, only if there is a file.
    async fn connection(&self, make: bool) -> Result<Option<DatabaseConnection>> {
        let mut open = self.open.lock().await;
        if let Some(connection) = &*open {
            return Ok(Some(connection.clone()));
        }
        if !make && !self.path.exists() {
            return Ok(None);
        }
        let mut options = ConnectOptions::new(format!("sqlite:{}", self.path.display()));
        options
            .max_connections(CONNECTIONS)
            .min_connections(1)
            .sqlx_logging(false)
            .test_before_acquire(false)
            .map_sqlx_sqlite_opts(|sqlite| {
                sqlite
                    .create_if_missing(true)
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Normal)
                    .busy_timeout(Duration::from_secs(5))
            });
        let connection = Database::connect(options).await?;
        let schema = Schema::new(connection.get_database_backend());
        for mut table in [
            schema.create_table_from_entity(audit_chunk::Entity),
            schema.create_table_from_entity(audit_posting::Entity),
        ] {
            // The rows are the key's tree itself, not a second one beside it.
            connection.execute(table.if_not_exists().extra("WITHOUT ROWID")).await?;
        }
        *open = Some(connection.clone());
        Ok(Some(connection))
    }

    async fn remove(&self) -> Result<()> {
        let mut open = self.open.lock().await;
        if let Some(connection) = open.take() {
            let _ = connection.close().await;
        }
        for suffix in ["", "-wal", "-shm"] {
            let path = PathBuf::from(format!("{}{suffix}", self.path.display()));
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::unavailable(format!(
                        "the audit log's index `{}` cannot be removed: remove it",
                        path.display()
                    ))
                    .because(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Deletes a log's stretches: what no stretch names is not read, and is written over.
async fn delete<C: ConnectionTrait>(conn: &C, log: &str) -> Result<(), DbErr> {
    audit_chunk::Entity::delete_many()
        .filter(audit_chunk::Column::Log.eq(log))
        .exec(conn)
        .await
        .map(drop)
}

/// Deletes the rows of one stretch. The buckets are named, so that they are found by the key.
async fn clear<C: ConnectionTrait>(conn: &C, log: &str, chunk: u64) -> Result<(), DbErr> {
    audit_posting::Entity::delete_many()
        .filter(audit_posting::Column::Log.eq(log))
        .filter(audit_posting::Column::Bucket.is_in(0..=i32::from(u8::MAX)))
        .filter(audit_posting::Column::Chunk.eq(signed(chunk)))
        .exec(conn)
        .await
        .map(drop)
}

async fn insert<C: ConnectionTrait>(
    conn: &C,
    row: audit_chunk::ActiveModel,
    rows: Vec<audit_posting::ActiveModel>,
) -> Result<(), DbErr> {
    use audit_posting::Column::{Bucket, Chunk, Log, Postings};
    if !rows.is_empty() {
        // Two nodes may keep the same stretch; what they keep is the same.
        let again = OnConflict::columns([Log, Bucket, Chunk])
            .update_column(Postings)
            .to_owned();
        audit_posting::Entity::insert_many(rows)
            .on_conflict(again)
            .exec_without_returning(conn)
            .await?;
    }
    let again = OnConflict::columns([audit_chunk::Column::Log, audit_chunk::Column::Chunk])
        .update_columns([
            audit_chunk::Column::FirstMs,
            audit_chunk::Column::LastMs,
            audit_chunk::Column::Root,
            audit_chunk::Column::Offsets,
        ])
        .to_owned();
    audit_chunk::Entity::insert(row)
        .on_conflict(again)
        .exec_without_returning(conn)
        .await
        .map(drop)
}

/// Which stretch of a log is to be made anew next.
pub(super) async fn rebuilding(store: &Store, log: &str) -> Result<Option<u64>> {
    let row = audit_rebuild::Entity::find_by_id(log.to_owned())
        .one(store.read())
        .await?;
    Ok(row.map(|row| unsigned(row.next)))
}

/// Asks that the index of a log be made anew, from its beginning on.
pub(in crate::audit) async fn ask(tx: &Tx, log: &str) -> Result<()> {
    let row = audit_rebuild::ActiveModel {
        log: Set(log.to_owned()),
        next: Set(0),
    };
    audit_rebuild::Entity::insert(row)
        .on_conflict(
            OnConflict::column(audit_rebuild::Column::Log)
                .update_column(audit_rebuild::Column::Next)
                .to_owned(),
        )
        .exec_without_returning(tx.conn())
        .await?;
    Ok(())
}

/// Notes that stretch `done` is done, and what comes next. Not if somebody else has changed it.
pub(super) async fn advance(store: &Store, log: &str, done: u64, next: Option<u64>) -> Result<bool> {
    let (log, done, next) = (log.to_owned(), signed(done), next.map(signed));
    store
        .transact(move |tx| {
            let log = log.clone();
            async move {
                let is_it = audit_rebuild::Column::Log
                    .eq(log)
                    .and(audit_rebuild::Column::Next.eq(done));
                let changed = match next {
                    Some(next) => {
                        audit_rebuild::Entity::update_many()
                            .col_expr(audit_rebuild::Column::Next, Expr::value(next))
                            .filter(is_it)
                            .exec(tx.conn())
                            .await?
                            .rows_affected
                    }
                    None => {
                        audit_rebuild::Entity::delete_many()
                            .filter(is_it)
                            .exec(tx.conn())
                            .await?
                            .rows_affected
                    }
                };
                Ok(changed == 1)
            }
            .boxed()
        })
        .await
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
