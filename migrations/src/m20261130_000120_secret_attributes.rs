//! Secrets: attributes of each version, labels that point at versions, versions that are destroyed one by one, and the
//! keys by which a set may be sent again.
//!
//! Expand only: nothing is dropped here. A binary of before goes on setting secrets: where `current` is null, the newest
//! version is the current one.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer_null, string_null, text_null};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

fn secret() -> [ColumnDef; 4] {
    [
        big_integer_null("current"),
        big_integer_null("previous"),
        text_null("labels"),
        ColumnDef::new("revision")
            .big_integer()
            .not_null()
            .default(1)
            .to_owned(),
    ]
}

fn version() -> [ColumnDef; 7] {
    [
        ColumnDef::new("enabled").boolean().not_null().default(true).to_owned(),
        big_integer_null("not_before"),
        big_integer_null("expires"),
        big_integer_null("updated_at"),
        big_integer_null("destroy_at"),
        big_integer_null("destroyed_at"),
        string_null("request_key"),
    ]
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in secret() {
            manager
                .alter_table(Table::alter().table("secret").add_column(column).to_owned())
                .await?;
        }
        for column in version() {
            manager
                .alter_table(Table::alter().table("secret_version").add_column(column).to_owned())
                .await?;
        }
        let database = manager.get_connection();
        database
            .execute_unprepared("UPDATE secret SET previous = latest - 1 WHERE latest > 1")
            .await?;
        // The builder cannot say `WHERE`; both databases can. Few versions wait for their end, and few have a key.
        database
            .execute_unprepared(
                "CREATE INDEX secret_version_destroy ON secret_version (destroy_at) WHERE destroy_at IS NOT NULL",
            )
            .await?;
        database
            .execute_unprepared(
                "CREATE UNIQUE INDEX secret_version_request ON secret_version (secret_id, request_key) \
                 WHERE request_key IS NOT NULL",
            )
            .await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for index in ["secret_version_request", "secret_version_destroy"] {
            manager
                .drop_index(Index::drop().name(index).table("secret_version").to_owned())
                .await?;
        }
        let columns = secret()
            .map(|column| ("secret", column))
            .into_iter()
            .chain(version().map(|column| ("secret_version", column)));
        for (table, column) in columns {
            manager
                .alter_table(
                    Table::alter()
                        .table(table)
                        .drop_column(column.get_column_name())
                        .to_owned(),
                )
                .await?;
        }
        Ok(())
    }
}
