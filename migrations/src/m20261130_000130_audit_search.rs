//! The search index over the audit logs whose records are rows. Journals have theirs in a file beside them.
//!
//! Expand only: nothing is dropped here. Whatever stands in these tables can be made anew from the logs.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, binary, integer, string};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table("audit_chunk")
                    .col(string("log"))
                    .col(big_integer("chunk"))
                    .col(big_integer("first_ms"))
                    .col(big_integer("last_ms"))
                    .col(binary("root"))
                    .col(binary("offsets"))
                    .primary_key(Index::create().col("log").col("chunk"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table("audit_posting")
                    .col(string("log"))
                    .col(integer("bucket"))
                    .col(big_integer("chunk"))
                    .col(binary("postings"))
                    .primary_key(Index::create().col("log").col("bucket").col("chunk"))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["audit_chunk", "audit_posting"] {
            manager.drop_table(Table::drop().table(table).to_owned()).await?;
        }
        Ok(())
    }
}
