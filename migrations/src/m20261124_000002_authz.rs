//! Role assignments: who holds which role where.
//!
//! Expand only: nothing is dropped here.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, big_integer_null, string};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table("role_assignment")
                    .col(ColumnDef::new("id").string().not_null().primary_key())
                    .col(ColumnDef::new("principal").string_len(2048).not_null())
                    .col(string("role"))
                    .col(ColumnDef::new("scope").string_len(512).not_null())
                    .col(big_integer_null("expires_at"))
                    .col(big_integer("created_at"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("role_assignment_once")
                    .table("role_assignment")
                    .col("principal")
                    .col("role")
                    .col("scope")
                    .unique()
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("role_assignment").to_owned())
            .await
    }
}
