//! Roles that people make.
//!
//! Expand only: nothing is dropped here. A node of the release before refuses every request once such a role is assigned:
//! update all nodes before the first.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, text};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table("custom_role")
                    .col(ColumnDef::new("name").string().not_null().primary_key())
                    .col(text("allowed"))
                    .col(text("denied"))
                    .col(big_integer("created_at"))
                    .col(big_integer("updated_at"))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("custom_role").to_owned()).await
    }
}
