//! The register of audit logs, and the records of nodes without a disk of their own.
//!
//! Expand only: nothing is dropped here.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, binary, string, text_null};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table("audit_log")
                    .col(ColumnDef::new("node").string().not_null().primary_key())
                    .col(string("origin"))
                    .col(string("vkey"))
                    .col(big_integer("size"))
                    .col(text_null("checkpoint"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table("audit_entry")
                    .col(string("log"))
                    .col(big_integer("idx"))
                    .col(binary("record"))
                    .primary_key(Index::create().col("log").col("idx"))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["audit_log", "audit_entry"] {
            manager.drop_table(Table::drop().table(table).to_owned()).await?;
        }
        Ok(())
    }
}
