//! The tables that every room leans on: outbox, intents, change counters, leases and the register of token keys.
//!
//! Expand only: nothing is dropped here.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, binary, binary_null, boolean, string, string_null};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table("outbox")
                    .col(string("node"))
                    .col(big_integer("seq"))
                    .col(string("record_id"))
                    .col(binary("record"))
                    .primary_key(Index::create().col("node").col("seq"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table("outbox_position")
                    .col(ColumnDef::new("node").string().not_null().primary_key())
                    .col(big_integer("seq"))
                    .col(big_integer("log_size"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table("intent")
                    .col(ColumnDef::new("id").string().not_null().primary_key())
                    .col(string("node"))
                    .col(big_integer("created_at"))
                    .col(binary("record"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table("change_counter")
                    .col(string("node"))
                    .col(string("topic"))
                    .col(big_integer("value"))
                    .primary_key(Index::create().col("node").col("topic"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table("lease")
                    .col(ColumnDef::new("name").string().not_null().primary_key())
                    .col(string("holder"))
                    .col(big_integer("expires_at"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table("token_key")
                    .col(ColumnDef::new("label").string().not_null().primary_key())
                    .col(string("key_type"))
                    .col(boolean("made"))
                    .col(binary_null("spki"))
                    .col(binary_null("check_value"))
                    .col(string_null("made_by"))
                    .col(big_integer("created_at"))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [
            "outbox",
            "outbox_position",
            "intent",
            "change_counter",
            "lease",
            "token_key",
        ] {
            manager.drop_table(Table::drop().table(table).to_owned()).await?;
        }
        Ok(())
    }
}
