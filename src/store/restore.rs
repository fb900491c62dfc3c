//! An empty database that is being filled: all of it in one transaction, or nothing.

use chancery_migrations::{Migrator, MigratorTrait};
use sea_orm::sea_query::{Alias, Expr, Query};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, Statement, TransactionTrait, Value,
};

use super::dump::{self, Cell};
use super::open::{self, Lock};
use super::{Settings, StoreError};
use crate::error::{Error, Result};
use crate::id::Label;

/// Values of one statement; SQLite takes 32,766, PostgreSQL 65,535.
const VALUES: usize = 16_000;

/// A database that is being filled. Dropped before [`Self::commit`], nothing of it is there.
pub struct Restoring {
    connection: DatabaseConnection,
    conn: DatabaseTransaction,
    _lock: Lock,
}

impl Restoring {
    /// Opens an empty database for `node`, and gives it the schema that these migrations make.
    ///
    /// # Errors
    /// `Conflict` if it is not empty, in use, or the schema is of a release that is not known here; the database's.
    pub async fn begin(settings: &Settings, node: &Label, wanted: &[String]) -> Result<Self> {
        let ours = dump::schema();
        if !ours.starts_with(wanted) {
            return Err(Error::conflict(
                "the backup was made by a release with another schema, which this one cannot make: restore it with that \
                 release, then upgrade",
            ));
        }
        let plan = open::plan(&settings.url, node).await?;
        let mut connection = plan.writer.connect().await?;
        if let Some(table) = first_with_rows(&connection).await? {
            return Err(Error::conflict(format!(
                "the database `{}` is not empty (table {table}): give the configuration a new one, and keep this one until \
                 you are sure that you do not need it",
                shown(&settings.url),
            )));
        }
        if let Some(file) = open::sqlite_file(&settings.url) {
            // CRASH: SQLite takes a migration's steps one by one, so what an attempt has left may be half a schema: there
            // are no rows in it, and it is made anew.
            connection.close().await?;
            open::renew(file)?;
            connection = plan.writer.connect().await?;
        }
        Migrator::install(&connection).await.map_err(StoreError::from)?;
        let applied = Migrator::get_applied_migrations(&connection).await;
        let applied = applied.map_err(StoreError::from)?;
        let applied: Vec<_> = applied.iter().map(|migration| migration.name()).collect();
        if applied.is_empty() {
            let steps = u32::try_from(wanted.len()).map_err(|e| Error::internal("too many migrations").because(e))?;
            open::migrate(&connection, Some(steps)).await?;
        } else if applied != wanted {
            return Err(Error::conflict(format!(
                "the database `{}` is empty, but was made by another release than the backup: give a new one",
                shown(&settings.url)
            )));
        }
        let conn = connection.begin().await?;
        Ok(Self {
            connection,
            conn,
            _lock: plan.lock,
        })
    }

    /// Adds rows to a table.
    ///
    /// # Errors
    /// The database's.
    pub async fn insert(&self, table: &str, columns: &[String], rows: &mut Vec<Vec<Cell>>) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut insert = Query::insert();
        insert
            .into_table(Alias::new(table))
            .columns(columns.iter().map(Alias::new));
        for row in rows.drain(..) {
            let values = row.into_iter().map(|cell| Expr::val(Value::from(cell)));
            insert
                .values(values)
                .map_err(|e| Error::invalid("the backup has a row with other columns than its table").because(e))?;
        }
        self.conn.execute(&insert).await?;
        Ok(())
    }

    /// How many rows of so many columns are added together.
    pub fn together(columns: usize) -> usize {
        (VALUES / columns.max(1)).clamp(1, 500)
    }

    /// For `repo.rs` files: the transaction that fills it.
    pub fn conn(&self) -> &DatabaseTransaction {
        &self.conn
    }

    /// Keeps what was added, and brings the schema up to date.
    ///
    /// # Errors
    /// The database's.
    pub async fn commit(self) -> Result<()> {
        self.conn.commit().await?;
        // CRASH: the rows are there, and the next start brings the schema up to date as after every upgrade.
        open::migrate(&self.connection, None).await?;
        self.connection.close().await?;
        Ok(())
    }
}

/// A table that has rows, but for the list of migrations.
async fn first_with_rows(connection: &DatabaseConnection) -> Result<Option<String>> {
    let backend = connection.get_database_backend();
    let tables = match backend {
        DbBackend::Postgres => "SELECT tablename AS name FROM pg_tables WHERE schemaname = current_schema()",
        _ => "SELECT name FROM sqlite_master WHERE type = 'table'",
    };
    for row in connection
        .query_all_raw(Statement::from_string(backend, tables))
        .await?
    {
        let name: String = row.try_get("", "name")?;
        if name == "seaql_migrations" || name.starts_with("sqlite_") {
            continue;
        }
        let any = Query::select()
            .expr(Expr::val(1))
            .from(Alias::new(name.as_str()))
            .limit(1)
            .to_owned();
        if connection.query_one(&any).await?.is_some() {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// A database's address without a password.
fn shown(url: &str) -> &str {
    url.split('@').next_back().unwrap_or_default()
}
