//! Opens the two kinds of database: pools, pragmas, migrations.

use std::fs::{File, OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use chancery_migrations::{Migrator, MigratorTrait};
use sea_orm::{ConnectOptions, Database, DatabaseConnection};
use sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};

use super::error::StoreError;

/// Readers beside the one writer.
const READERS: u32 = 8;

/// What a store is made of.
pub(super) struct Opened {
    pub(super) read: DatabaseConnection,
    pub(super) writer: Connector,
    /// Whether other nodes may use the same database.
    pub(super) shared: bool,
    pub(super) lock: Option<std::fs::File>,
}

/// Makes the writer's connection, again after it had to be discarded.
pub(super) struct Connector {
    options: ConnectOptions,
}

impl Connector {
    pub(super) async fn connect(&self) -> Result<DatabaseConnection, StoreError> {
        Ok(Database::connect(self.options.clone()).await?)
    }
}

/// Opens the database at `url` and migrates it.
pub(super) async fn open(url: &str) -> Result<Opened, StoreError> {
    if let Some(path) = url.strip_prefix("sqlite:") {
        let path = path.trim_start_matches("//");
        if path.is_empty() || path.contains('?') || path.starts_with(':') {
            return Err(StoreError::BadUrl(url.to_owned()));
        }
        sqlite(Path::new(path)).await
    } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        postgres(url).await
    } else {
        Err(StoreError::BadUrl(
            url.split('@').next_back().unwrap_or_default().to_owned(),
        ))
    }
}

async fn sqlite(path: &Path) -> Result<Opened, StoreError> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(unusable(folder))?;
    }
    let lock = path.with_extension("lock");
    let lock = private(&lock).map_err(unusable(&lock))?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| StoreError::Locked(path.display().to_string()))?;

    // SECURITY: before SQLite makes it for everybody to read; the journal files get the same rights.
    private(path).map_err(unusable(path))?;
    let url = format!("sqlite:{}", path.display());
    let options = |connections: u32, writer: bool| {
        let mut options = ConnectOptions::new(url.clone());
        options
            .max_connections(connections)
            .min_connections(1)
            .sqlx_logging(false)
            .test_before_acquire(false)
            .map_sqlx_sqlite_opts(move |sqlite| {
                let sqlite = sqlite
                    .create_if_missing(writer)
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Full)
                    .foreign_keys(true)
                    .busy_timeout(Duration::from_secs(5))
                    .statement_cache_capacity(256);
                if writer {
                    sqlite
                } else {
                    sqlite.pragma("query_only", "ON")
                }
            });
        options
    };
    let writer = Connector {
        options: options(1, true),
    };
    let first = writer.connect().await?;
    Migrator::up(&first, None).await?;
    first.close().await?;
    Ok(Opened {
        read: Database::connect(options(READERS, false)).await?,
        writer,
        shared: false,
        lock: Some(lock),
    })
}

fn unusable(path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
    move |error| StoreError::Io(path.display().to_string(), error)
}

/// A file that its owner alone may read, made if it is missing; a file that is there loses its other readers.
fn private(path: &Path) -> std::io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

async fn postgres(url: &str) -> Result<Opened, StoreError> {
    let options = |connections: u32| {
        let mut options = ConnectOptions::new(url.to_owned());
        options
            .max_connections(connections)
            .min_connections(1)
            .connect_timeout(Duration::from_secs(10))
            .acquire_timeout(Duration::from_secs(10))
            .sqlx_logging(false)
            .test_before_acquire(false);
        options
    };
    let writer = Connector { options: options(1) };
    let first = writer.connect().await?;
    migrate_once(&first).await?;
    first.close().await?;
    Ok(Opened {
        read: Database::connect(options(READERS)).await?,
        writer,
        shared: true,
        lock: None,
    })
}

/// Two nodes that start together must not migrate together: the second waits, then finds nothing to do.
async fn migrate_once(connection: &DatabaseConnection) -> Result<(), StoreError> {
    use sea_orm::ConnectionTrait;
    // INVARIANT: the pool has one connection, so the lock and the migration share a session.
    connection
        .execute_unprepared("SELECT pg_advisory_lock(7143202611)")
        .await?;
    let migrated = Migrator::up(connection, None).await;
    connection
        .execute_unprepared("SELECT pg_advisory_unlock(7143202611)")
        .await?;
    Ok(migrated?)
}
