//! One process for each node's name, on PostgreSQL. (SQLite's file has a lock of its own.)
//!
//! The lock is PostgreSQL's, held by a connection that does nothing else, so it ends with the process. It keeps a second
//! process from starting; what the first one may still write is not for it to say, since the connection can be lost:
//! whoever must know writes under a fence of its own, as the audit log does.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgAdvisoryLock, PgConnectOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::error::StoreError;
use crate::id::Label;

/// How PostgreSQL treats the connection. A machine that died is noticed within half a minute, and its name is free; a
/// start waits so long for the last process of that name to end. (PostgreSQL waits, so that nothing is left of a start
/// that gave up.)
const SESSION: [(&str, &str); 4] = [
    ("lock_timeout", "5s"),
    ("tcp_keepalives_count", "3"),
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
];
/// SQLSTATE of a lock that was not to be had in time.
const LOCK_NOT_AVAILABLE: &str = "55P03";
/// How often the connection is tried.
const PULSE: Duration = Duration::from_secs(5);
/// How long PostgreSQL may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The right to a node's name, given back when this is dropped.
pub(super) struct Hold(tokio::task::AbortHandle);

struct Name {
    node: Label,
    options: PgConnectOptions,
    lock: PgAdvisoryLock,
}

impl Hold {
    /// Takes the name `node` in the database at `url`, and keeps it.
    ///
    /// # Errors
    /// [`StoreError::NodeInUse`] if another process has it, or the database's own error.
    pub(super) async fn take(url: &str, node: &Label) -> Result<Self, StoreError> {
        let name = Name {
            node: node.clone(),
            options: PgConnectOptions::from_str(url).map_err(failed)?.options(SESSION),
            lock: PgAdvisoryLock::new(format!("chancery node {node}")),
        };
        let connection = name.take().await?;
        Ok(Self(tokio::spawn(name.keep(connection)).abort_handle()))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Name {
    /// A connection that has the lock for as long as it lives.
    async fn take(&self) -> Result<PgConnection, StoreError> {
        let taken = async { self.lock.acquire(self.options.connect().await?).await };
        match timeout(PATIENCE, taken).await {
            Ok(Ok(guard)) => Ok(guard.leak()),
            Ok(Err(error)) if is_code(&error, LOCK_NOT_AVAILABLE) => Err(StoreError::NodeInUse(self.node.to_string())),
            Ok(Err(error)) => Err(failed(error)),
            Err(_) => Err(StoreError::Deadline),
        }
    }

    /// Keeps the lock, and takes it again when its connection was lost.
    async fn keep(self, mut connection: PgConnection) {
        let mut pulse = interval(PULSE);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            pulse.tick().await;
            if matches!(timeout(PATIENCE, connection.ping()).await, Ok(Ok(()))) {
                continue;
            }
            match self.take().await {
                Ok(again) => {
                    tracing::warn!(
                        "the store's lock on the node name `{}` was lost and taken again",
                        self.node
                    );
                    connection = again;
                }
                Err(error) => tracing::error!("the store's lock on the node name is lost: {error}"),
            }
        }
    }
}

fn is_code(error: &sqlx::Error, code: &str) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|found| found == code)
}

fn failed(error: sqlx::Error) -> StoreError {
    StoreError::Db(sea_orm::DbErr::Conn(sea_orm::RuntimeErr::SqlxError(error.into())))
}
