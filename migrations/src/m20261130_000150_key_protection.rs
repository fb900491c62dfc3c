//! Where a version's private half is kept and used.
//!
//! Expand only: those that are there are used in the process.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::string;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .alter_table(
                Table::alter()
                    .table("vault_key_version")
                    .add_column(string("protection").default("software"))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .alter_table(
                Table::alter()
                    .table("vault_key_version")
                    .drop_column("protection")
                    .to_owned(),
            )
            .await
    }
}
