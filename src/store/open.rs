//! Opens the two kinds of database: pools, pragmas, migrations.

use std::fs::{File, OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use aws_lc_rs::digest;
use chancery_migrations::{Migrator, MigratorTrait};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement};
use sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};

use super::error::StoreError;
use super::hold::Hold;
use crate::id::Label;

/// Readers beside the one writer.
const READERS: u32 = 8;
/// How often it is looked whether a lost session of the writer has ended, and the pause between two looks.
const LOOKS: u32 = 50;
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a store is made of.
pub(super) struct Opened {
    pub(super) read: DatabaseConnection,
    pub(super) writer: Connector,
    /// Whether other nodes may use the same database.
    pub(super) shared: bool,
    pub(super) lock: Lock,
}

/// What keeps a second process away.
pub(super) enum Lock {
    /// The lock of a SQLite file.
    File { _file: File },
    /// The right to a node's name on PostgreSQL.
    Node { _hold: Hold },
}

/// Makes the writer's connection, again after it had to be discarded.
pub(super) struct Connector {
    options: ConnectOptions,
    /// What PostgreSQL knows the writer's sessions by.
    session: Option<String>,
}

impl Connector {
    pub(super) async fn connect(&self) -> Result<DatabaseConnection, StoreError> {
        Ok(Database::connect(self.options.clone()).await?)
    }

    /// Returns once the writer has no other session left, so that whatever one of them was asked to commit is committed
    /// by now or never will be. A session that is busy gets some time to end by itself.
    pub(super) async fn end_others(&self, connection: &DatabaseConnection) -> Result<(), StoreError> {
        let Some(session) = &self.session else {
            // SQLite has no sessions: what a connection left is decided when the next one opens the file.
            return Ok(());
        };
        let ask = |what: &str| {
            let sql = format!(
                "SELECT {what} FROM pg_stat_activity \
                 WHERE application_name = $1 AND datname = current_database() AND pid <> pg_backend_pid()"
            );
            let statement = Statement::from_sql_and_values(DbBackend::Postgres, sql, [session.as_str().into()]);
            async move { connection.query_all_raw(statement).await }
        };
        let mut looks = tokio::time::interval(LOOK_EVERY);
        for _ in 0..LOOKS {
            looks.tick().await;
            if ask("pid").await?.is_empty() {
                return Ok(());
            }
        }
        // Its other end is gone and it has not noticed: it would keep its locks for hours.
        for row in ask("pg_terminate_backend(pid, 5000) AS gone").await? {
            if !row.try_get::<bool>("", "gone")? {
                return Err(StoreError::CommitUnknown);
            }
        }
        Ok(())
    }
}

/// How a database is opened, and that nobody else has it.
pub(super) struct Plan {
    read: ConnectOptions,
    pub(super) writer: Connector,
    shared: bool,
    pub(super) lock: Lock,
}

/// Opens the database at `url` for `node` and migrates it.
pub(super) async fn open(url: &str, node: &Label) -> Result<Opened, StoreError> {
    let plan = plan(url, node).await?;
    let first = plan.writer.connect().await?;
    migrate(&first, None).await?;
    first.close().await?;
    Ok(Opened {
        read: Database::connect(plan.read).await?,
        writer: plan.writer,
        shared: plan.shared,
        lock: plan.lock,
    })
}

/// Brings the schema up to date, or takes so many steps.
pub(super) async fn migrate(connection: &DatabaseConnection, steps: Option<u32>) -> Result<(), StoreError> {
    match connection.get_database_backend() {
        DbBackend::Postgres => migrate_once(connection, steps).await,
        _ => Ok(Migrator::up(connection, steps).await?),
    }
}

/// The file of a SQLite database.
pub(super) fn sqlite_file(url: &str) -> Option<&Path> {
    let path = url.strip_prefix("sqlite:")?;
    Some(Path::new(path.trim_start_matches("//")))
}

/// Removes a SQLite database that nothing is lost with, and makes an empty file in its place. Its lock must be held.
pub(super) fn renew(path: &Path) -> Result<(), StoreError> {
    for behind in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(behind);
        match std::fs::remove_file(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(unusable(path)(error)),
            _ => {}
        }
    }
    private(path).map_err(unusable(path))?;
    Ok(())
}

/// Takes the database at `url` for `node`; SQLite's file is made if it is missing.
pub(super) async fn plan(url: &str, node: &Label) -> Result<Plan, StoreError> {
    if let Some(file) = sqlite_file(url) {
        let path = file.to_string_lossy();
        if path.is_empty() || path.contains('?') || path.starts_with(':') {
            return Err(StoreError::BadUrl(url.to_owned()));
        }
        sqlite(file)
    } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        postgres(url, node).await
    } else {
        Err(StoreError::BadUrl(
            url.split('@').next_back().unwrap_or_default().to_owned(),
        ))
    }
}

fn sqlite(path: &Path) -> Result<Plan, StoreError> {
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
                    // What every change touches stays in memory however much is stored (in KiB), and is copied from the
                    // log into the database once for many changes (in pages of 4 KiB).
                    sqlite
                        .pragma("cache_size", "-32768")
                        .pragma("wal_autocheckpoint", "4000")
                } else {
                    sqlite.pragma("query_only", "ON")
                }
            });
        options
    };
    let writer = Connector {
        options: options(1, true),
        session: None,
    };
    Ok(Plan {
        read: options(READERS, false),
        writer,
        shared: false,
        lock: Lock::File { _file: lock },
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

async fn postgres(url: &str, node: &Label) -> Result<Plan, StoreError> {
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
    let hold = Hold::take(url, node).await?;
    // PostgreSQL keeps 63 bytes of a name, which a node's may have itself.
    let name = digest::digest(&digest::SHA256, node.as_str().as_bytes());
    let name = name.as_ref().first_chunk::<16>().copied().unwrap_or_default();
    let session = format!("chancery-{}", hex::encode(name));
    let named = session.clone();
    let mut options_of_writer = options(1);
    options_of_writer.map_sqlx_postgres_opts(move |postgres| postgres.application_name(&named));
    let writer = Connector {
        options: options_of_writer,
        session: Some(session),
    };
    Ok(Plan {
        read: options(READERS),
        writer,
        shared: true,
        lock: Lock::Node { _hold: hold },
    })
}

/// Two nodes that start together must not migrate together: the second waits, then finds nothing to do.
async fn migrate_once(connection: &DatabaseConnection, steps: Option<u32>) -> Result<(), StoreError> {
    // INVARIANT: the pool has one connection, so the lock and the migration share a session.
    connection
        .execute_unprepared("SELECT pg_advisory_lock(7143202611)")
        .await?;
    let migrated = Migrator::up(connection, steps).await;
    connection
        .execute_unprepared("SELECT pg_advisory_unlock(7143202611)")
        .await?;
    Ok(migrated?)
}
