//! What can go wrong in the store, and what each failure means for the batch that met it.

use std::time::Duration;

use sea_orm::{DbErr, RuntimeErr, SqlErr};

use crate::error::{Error, Kind};

/// A failure of the store itself.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The settings name no store that we can open.
    #[error("`{0}` is not a store: use `sqlite:PATH` or `postgres://USER@HOST/DATABASE`")]
    BadUrl(String),
    /// Another process has the SQLite file open.
    #[error("the store `{0}` is in use by another process: stop it first, or use PostgreSQL for several nodes")]
    Locked(String),
    /// Another process runs under this node's name, on PostgreSQL.
    #[error(
        "the node name `{0}` is in use by another process: stop it first, or set `node` to another name; if it ran on a \
         machine that has died, try again in a minute"
    )]
    NodeInUse(String),
    /// The database answered with an error.
    #[error("the store failed: {0}")]
    Db(#[from] DbErr),
    /// The file system did, at this file or folder.
    #[error("the store's `{0}` cannot be used ({1}): make it and its folder writable for this user")]
    Io(String, std::io::Error),
    /// The writer is gone: the process is shutting down.
    #[error("the store is closed")]
    Closed,
    /// The queue of waiting changes is full.
    #[error("too many changes are waiting: try again")]
    Busy,
    /// A change, or another one in its batch, took longer than its deadline.
    #[error("a change took too long and was given up: try again")]
    Deadline,
    /// A change's closure panicked, or another one's in its batch.
    #[error("a change failed by a fault of ours")]
    Panicked,
    /// The commit was sent and no answer came: it may or may not have happened.
    #[error("the store did not confirm a commit: look whether the change was made before you try again")]
    CommitUnknown,
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::BadUrl(_) => Kind::Invalid,
            StoreError::Panicked => Kind::Internal,
            StoreError::Busy => Kind::RateLimited,
            StoreError::Locked(_)
            | StoreError::NodeInUse(_)
            | StoreError::Db(_)
            | StoreError::Io(..)
            | StoreError::Closed
            | StoreError::Deadline
            | StoreError::CommitUnknown => Kind::Unavailable,
        };
        let text = match &error {
            StoreError::Db(db) if is_full(db) => {
                "the store's disk is full: free space, then try again; nothing was changed".to_owned()
            }
            StoreError::Db(db) if is_read_only(db) => {
                "the store is read-only: make it writable, then try again; nothing was changed".to_owned()
            }
            StoreError::Db(_) => "the store is not reachable now: try again".to_owned(),
            other => other.to_string(),
        };
        Self::new(kind, text).retry_after(Duration::from_secs(1)).because(error)
    }
}

impl From<DbErr> for Error {
    fn from(error: DbErr) -> Self {
        StoreError::Db(error).into()
    }
}

/// Whether a row with this unique value exists already.
pub fn is_unique_violation(error: &DbErr) -> bool {
    matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_)))
}

/// The database's own code: SQLSTATE, or SQLite's extended result code.
fn code(error: &DbErr) -> Option<String> {
    let (DbErr::Conn(RuntimeErr::SqlxError(e))
    | DbErr::Exec(RuntimeErr::SqlxError(e))
    | DbErr::Query(RuntimeErr::SqlxError(e))) = error
    else {
        return None;
    };
    e.as_database_error()
        .and_then(|e| e.code())
        .map(std::borrow::Cow::into_owned)
}

/// SQLite's primary result code. (A SQLSTATE has five characters, SQLite's codes at most four digits.)
fn sqlite_code(error: &DbErr) -> Option<i32> {
    let code = code(error)?;
    if code.len() == 5 {
        return None;
    }
    code.parse::<i32>().ok().map(|code| code & 0xff)
}

fn is_full(error: &DbErr) -> bool {
    sqlite_code(error) == Some(13) || code(error).as_deref() == Some("53100")
}

fn is_read_only(error: &DbErr) -> bool {
    sqlite_code(error) == Some(8) || code(error).as_deref() == Some("25006")
}

/// PostgreSQL asks to run the transaction again: serialization failure or deadlock.
pub(super) fn is_retryable(error: &DbErr) -> bool {
    matches!(code(error).as_deref(), Some("40001" | "40P01"))
}

/// After this the whole transaction may be gone, so that nobody in the batch may be acknowledged: SQLite's BUSY,
/// LOCKED, NOMEM, READONLY, IOERR, CORRUPT, FULL, CANTOPEN; PostgreSQL's connection, transaction-state, resource,
/// operator and system classes; anything that did not come from the database at all.
pub(super) fn is_fatal(error: &DbErr) -> bool {
    match error {
        DbErr::Exec(RuntimeErr::SqlxError(e)) | DbErr::Query(RuntimeErr::SqlxError(e)) => match code(error) {
            None => !matches!(
                **e,
                sqlx::Error::RowNotFound | sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)
            ),
            Some(code) if code.len() == 5 => matches!(code.get(..2), Some("08" | "25" | "53" | "57" | "58" | "XX")),
            Some(_) => matches!(sqlite_code(error), Some(5 | 6 | 7 | 8 | 10 | 11 | 13 | 14)),
        },
        DbErr::Conn(_) | DbErr::ConnectionAcquire(_) => true,
        _ => false,
    }
}

/// A commit that ended so may have happened: the connection broke, or SQLite's file system failed after the commit
/// frame may have been written.
pub(super) fn leaves_commit_in_doubt(error: &DbErr) -> bool {
    is_fatal(error) && !is_full(error) && !is_read_only(error) && !matches!(sqlite_code(error), Some(5 | 6))
}

/// The database error that a room's error was made from, if any.
pub(super) fn db_cause(error: &Error) -> Option<&DbErr> {
    let mut cause = std::error::Error::source(error);
    while let Some(at) = cause {
        if let Some(StoreError::Db(db)) = at.downcast_ref() {
            return Some(db);
        }
        if let Some(db) = at.downcast_ref() {
            return Some(db);
        }
        cause = at.source();
    }
    None
}

/// Whether `error` says that a commit may or may not have happened.
pub fn is_commit_unknown(error: &Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(at) = cause {
        if matches!(at.downcast_ref(), Some(StoreError::CommitUnknown)) {
            return true;
        }
        cause = at.source();
    }
    false
}
