//! Every table as rows of plain cells, the same on both engines: for who keeps the whole database, or puts it back.
//!
//! A new table gets a line in [`tables`], which says whether it is kept; a test compares the list with the schema.

use chancery_migrations::{Migrator, MigratorTrait};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use sea_orm::{
    AccessMode, ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, EntityTrait, IdenStatic, IsolationLevel,
    Iterable, ModelTrait, PrimaryKeyToColumn, QueryOrder, Statement, TransactionTrait, Value,
};

use super::{Store, entity};
use crate::error::{Error, Result};

/// A value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Bytes, or none.
    Bytes(Option<Vec<u8>>),
    /// A truth value, or none.
    Flag(Option<bool>),
    /// A number of 32 bits, or none.
    Int(Option<i32>),
    /// A number of 64 bits, or none.
    Long(Option<i64>),
    /// Text, or none.
    Text(Option<String>),
}

impl TryFrom<Value> for Cell {
    type Error = DbErr;
    fn try_from(value: Value) -> Result<Self, DbErr> {
        match value {
            Value::Bool(flag) => Ok(Self::Flag(flag)),
            Value::Int(number) => Ok(Self::Int(number)),
            Value::BigInt(number) => Ok(Self::Long(number)),
            Value::String(text) => Ok(Self::Text(text)),
            Value::Bytes(bytes) => Ok(Self::Bytes(bytes)),
            _ => Err(DbErr::Type("a column of a kind that no table had so far".to_owned())),
        }
    }
}

impl From<Cell> for Value {
    fn from(cell: Cell) -> Self {
        match cell {
            Cell::Bytes(bytes) => Self::Bytes(bytes),
            Cell::Flag(flag) => Self::Bool(flag),
            Cell::Int(number) => Self::Int(number),
            Cell::Long(number) => Self::BigInt(number),
            Cell::Text(text) => Self::String(text),
        }
    }
}

/// The rows of a table, one after the other.
pub type Rows<'t> = BoxStream<'t, Result<Vec<Cell>, DbErr>>;
type Read = for<'t> fn(&'t DatabaseTransaction) -> BoxFuture<'t, Result<Rows<'t>, DbErr>>;

/// A table.
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its columns, in the order of a row's cells.
    pub columns: Vec<String>,
    /// Whether its rows are put back; of others, they belong to a process, or are made anew.
    pub is_kept: bool,
    read: Read,
}

impl Table {
    fn of<E: EntityTrait>(is_kept: bool) -> Self {
        Self {
            name: E::default().table_name().to_owned(),
            columns: E::Column::iter().map(|column| column.as_str().to_owned()).collect(),
            is_kept,
            read: read::<E>,
        }
    }
}

fn read<E: EntityTrait>(conn: &DatabaseTransaction) -> BoxFuture<'_, Result<Rows<'_>, DbErr>> {
    async move {
        let mut select = E::find();
        for key in E::PrimaryKey::iter() {
            select = select.order_by_asc(key.into_column());
        }
        let rows = select.stream(conn).await?;
        let cells = |model: E::Model| E::Column::iter().map(|column| model.get(column).try_into()).collect();
        Ok(rows.map(move |row| row.and_then(cells)).boxed())
    }
    .boxed()
}

macro_rules! tables {
    ($(kept $kept:ident;)* $(left $left:ident;)*) => {
        vec![
            $(Table::of::<entity::$kept::Entity>(true),)*
            $(Table::of::<entity::$left::Entity>(false),)*
        ]
    };
}

/// Every table; one that another refers to stands before it.
pub fn tables() -> Vec<Table> {
    tables! {
        kept token_key;
        kept kek;
        kept dek;
        kept vault;
        kept secret;
        kept secret_version;
        kept secret_rotation;
        kept vault_key;
        kept vault_key_version;
        kept identity;
        kept identity_group;
        kept registration_entry;
        kept spent_proof;
        kept custom_role;
        kept role_assignment;
        kept authority_issuer;
        kept profile_version;
        kept issued;
        kept issued_name;
        kept issue_request;
        kept crl;
        kept ocsp_responder;
        kept issuing_stop;
        kept blocked_key;
        kept issuer;
        kept certificate;
        kept certificate_version;
        kept renewal;
        kept acme_account;
        kept acme_authorization;
        kept acme_challenge;
        kept acme_external_key;
        kept acme_order;
        kept rate_limit;
        kept intent;
        left acme_key;
        left acme_nonce;
        left audit_chunk;
        left audit_entry;
        left audit_log;
        left audit_posting;
        left audit_rebuild;
        left audit_sink;
        left change_counter;
        left join_token;
        left lease;
        left outbox;
        left outbox_position;
    }
}

/// The schema's migrations, in the order in which they are made.
pub(super) fn schema() -> Vec<String> {
    Migrator::get_migration_files()
        .iter()
        .map(|migration| migration.name().to_owned())
        .collect()
}

/// The database as it was at one moment. While it lives it holds a connection, and what was deleted since.
pub struct Snapshot {
    conn: DatabaseTransaction,
    schema: Vec<String>,
}

impl Store {
    /// The database as it is now: every change that was acknowledged before the call is in it, and of no change a part.
    ///
    /// # Errors
    /// `Unavailable` if the database does not answer; `Conflict` if a newer release has changed its schema.
    pub async fn snapshot(&self) -> Result<Snapshot> {
        let read = self.read();
        let conn = match read.get_database_backend() {
            DbBackend::Postgres => {
                let level = Some(IsolationLevel::RepeatableRead);
                read.begin_with_config(level, Some(AccessMode::ReadOnly)).await?
            }
            _ => read.begin().await?,
        };
        // The first statement fixes what all others see.
        let applied = "SELECT version FROM seaql_migrations ORDER BY version";
        let applied = Statement::from_string(conn.get_database_backend(), applied);
        let mut found = Vec::new();
        for row in conn.query_all_raw(applied).await? {
            found.push(row.try_get::<String>("", "version")?);
        }
        let schema = schema();
        let mut known = schema.clone();
        known.sort();
        if found != known {
            return Err(Error::conflict(
                "the database has another schema than this release: a node of a newer release changed it; ask that one",
            ));
        }
        Ok(Snapshot { conn, schema })
    }

    /// The number of the newest record of this node's changes that waits in the outbox; 0 if none does.
    ///
    /// # Errors
    /// The database's.
    pub async fn newest_waiting(&self) -> Result<i64> {
        use sea_orm::{ColumnTrait, QueryFilter, QuerySelect};
        let newest = entity::outbox::Entity::find()
            .filter(entity::outbox::Column::Node.eq(self.node().as_str()))
            .select_only()
            .column(entity::outbox::Column::Seq)
            .order_by_desc(entity::outbox::Column::Seq)
            .into_tuple::<i64>()
            .one(self.read())
            .await?;
        Ok(newest.unwrap_or(0))
    }
}

impl Snapshot {
    /// The migrations that made its schema.
    pub fn schema(&self) -> &[String] {
        &self.schema
    }

    /// A table's rows in the order of their keys.
    ///
    /// # Errors
    /// The database's.
    pub async fn rows(&self, table: &Table) -> Result<Rows<'_>> {
        Ok((table.read)(&self.conn).await?)
    }

    /// For `repo.rs` files: the transaction that sees it.
    pub fn conn(&self) -> &DatabaseTransaction {
        &self.conn
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A table or a column that somebody adds and forgets here would be missing from every backup.
    #[tokio::test]
    async fn every_table_and_column_of_the_schema_is_listed() {
        let folder = tempfile::tempdir().unwrap();
        let store = crate::store::tests::store(&folder).await;
        let ask = async |sql: String| {
            let rows = store
                .read()
                .query_all_raw(Statement::from_string(DbBackend::Sqlite, sql))
                .await
                .unwrap();
            let names = rows.iter().map(|row| row.try_get::<String>("", "name").unwrap());
            names.collect::<BTreeSet<_>>()
        };
        let mut there = ask("SELECT name FROM sqlite_master WHERE type = 'table'".to_owned()).await;
        there.remove("seaql_migrations");
        there.retain(|name| !name.starts_with("sqlite_"));
        let listed: BTreeSet<_> = tables().into_iter().map(|table| table.name).collect();
        assert_eq!(there, listed);
        for table in tables() {
            let there = ask(format!("SELECT name FROM pragma_table_info('{}')", table.name)).await;
            assert_eq!(there, table.columns.into_iter().collect(), "{}", table.name);
        }
    }
}
