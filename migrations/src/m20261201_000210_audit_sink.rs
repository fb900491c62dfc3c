//! How far each sink of an audit log has taken its records.
//!
//! Expand only: a new table.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, string};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table("audit_sink")
                    .col(string("log"))
                    .col(string("name"))
                    .col(big_integer("next"))
                    .primary_key(Index::create().col("log").col("name"))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("audit_sink").to_owned()).await
    }
}
