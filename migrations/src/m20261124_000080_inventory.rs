//! What was issued is found by whatever a list is narrowed by: each filter has an index in the order of its list.
//!
//! Expand only, but for an index: `issued_key` takes the place of `issued_spki`, with the order of the list in it. The
//! names of what was issued before are taken over here.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{ConnectionTrait, DbBackend};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// Certificates whose names are written by one statement: no statement takes more than 32,766 values.
const CHUNK: u64 = 50;

/// Name, columns, and which rows.
const INDEXES: [(&str, &str); 7] = [
    ("issued_ends", "(not_after, id)"),
    ("issued_issuer", "(issuer, id)"),
    ("issued_key", "(spki_sha256, id)"),
    ("issued_owner", "(requested_by, id)"),
    ("issued_profile", "(profile, id)"),
    ("issued_reserved", "(id) WHERE certificate IS NULL"),
    ("issued_revoked", "(id) WHERE revoked_at IS NOT NULL"),
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        // One tree on SQLite, and an order by bytes on PostgreSQL, whatever the database's: the builder can say neither.
        let (order, table) = match connection.get_database_backend() {
            DbBackend::Sqlite => ("", "WITHOUT ROWID"),
            _ => ("COLLATE \"C\"", ""),
        };
        connection
            .execute_unprepared(&format!(
                "CREATE TABLE IF NOT EXISTS issued_name \
                 (name text {order} NOT NULL, id varchar NOT NULL, PRIMARY KEY (name, id)) {table}"
            ))
            .await?;
        take_names_over(connection).await?;
        for (name, on) in INDEXES {
            // The builder cannot say `WHERE`; both databases can.
            connection
                .execute_unprepared(&format!("CREATE INDEX {name} ON issued {on}"))
                .await?;
        }
        manager
            .drop_index(Index::drop().name("issued_spki").table("issued").to_owned())
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_index(
                Index::create()
                    .name("issued_spki")
                    .table("issued")
                    .col("spki_sha256")
                    .to_owned(),
            )
            .await?;
        for (name, _) in INDEXES {
            manager
                .drop_index(Index::drop().name(name).table("issued").to_owned())
                .await?;
        }
        manager.drop_table(Table::drop().table("issued_name").to_owned()).await
    }
}

/// CRASH: what was taken over before is passed over when it runs again.
async fn take_names_over(connection: &SchemaManagerConnection<'_>) -> Result<(), DbErr> {
    let mut after = String::new();
    loop {
        let chunk = Query::select()
            .columns(["id", "names"])
            .from("issued")
            .and_where(Expr::col("id").gt(after.as_str()))
            .order_by("id", Order::Asc)
            .limit(CHUNK)
            .to_owned();
        let rows = connection.query_all(&chunk).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = last.try_get("", "id")?;
        let mut insert = Query::insert()
            .into_table("issued_name")
            .columns(["name", "id"])
            .on_conflict(OnConflict::new().do_nothing().to_owned())
            .to_owned();
        let mut some = false;
        for row in &rows {
            let (id, names): (String, String) = (row.try_get("", "id")?, row.try_get("", "names")?);
            let names: Vec<String> = serde_json::from_str(&names).map_err(|e| DbErr::Custom(e.to_string()))?;
            for name in names {
                insert
                    .values([key(&name).into(), id.as_str().into()])
                    .map_err(|e| DbErr::Custom(e.to_string()))?;
                some = true;
            }
        }
        if some {
            connection.execute(&insert).await?;
        }
    }
}

/// A host's labels from the last to the first.
fn key(name: &str) -> String {
    match name.strip_prefix("dns:") {
        Some(host) => format!("dns:{}", host.rsplit('.').collect::<Vec<_>>().join(".")),
        None => name.to_owned(),
    }
}
