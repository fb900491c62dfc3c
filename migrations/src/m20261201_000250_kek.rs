//! Generations of the key-encryption key.
//!
//! Expand only: without a row the first generation is the one that there is.

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
                    .table("kek")
                    .col(ColumnDef::new("generation").big_integer().not_null().primary_key())
                    .col(string("label").unique_key())
                    .col(string("stage"))
                    .col(big_integer("stage_at"))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("kek").to_owned()).await
    }
}
