//! Role assignments that begin later, and the groups that identities are in.
//!
//! Expand only: nothing is dropped here. What is assigned holds as before, and nobody is in a group at first. A node of
//! the release before refuses every request once there is an assignment to a path or a group, or a denial: update all
//! nodes before the first.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::big_integer_null;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let begins = Table::alter()
            .table("role_assignment")
            .add_column(big_integer_null("not_before"))
            .to_owned();
        manager.alter_table(begins).await?;
        manager
            .create_table(
                Table::create()
                    .table("identity_group")
                    .col(ColumnDef::new("identity").string_len(2048).not_null())
                    .col(ColumnDef::new("origin").string().not_null())
                    .col(ColumnDef::new("name").string_len(512).not_null())
                    .primary_key(Index::create().col("identity").col("origin").col("name"))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("identity_group").to_owned())
            .await?;
        let begins = Table::alter()
            .table("role_assignment")
            .drop_column("not_before")
            .to_owned();
        manager.alter_table(begins).await
    }
}
