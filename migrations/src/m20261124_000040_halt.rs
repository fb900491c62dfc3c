//! What is refused although a profile would allow it: issuing that was stopped, and keys that are blocked.
//!
//! Expand only: nothing is dropped here.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, string, text};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table("issuing_stop")
                    .col(string("authority"))
                    .col(string("profile"))
                    .col(text("reason"))
                    .col(text("stopped_by"))
                    .col(big_integer("stopped_at"))
                    .primary_key(Index::create().col("authority").col("profile"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table("blocked_key")
                    .col(ColumnDef::new("spki_sha256").string().not_null().primary_key())
                    .col(text("reason"))
                    .col(text("blocked_by"))
                    .col(big_integer("blocked_at"))
                    .to_owned(),
            )
            .await?;
        // A node reads what is new since it last looked.
        manager
            .create_index(
                Index::create()
                    .name("blocked_key_blocked_at")
                    .table("blocked_key")
                    .col("blocked_at")
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["blocked_key", "issuing_stop"] {
            manager.drop_table(Table::drop().table(table).to_owned()).await?;
        }
        Ok(())
    }
}
