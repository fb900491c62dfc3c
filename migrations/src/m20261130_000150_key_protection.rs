//! Where a version's private half is kept and used, and whether it may be exported.
//!
//! Expand only: those that are there are used in the process and stay in it.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{boolean, string};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // SQLite adds one column at a time.
        for column in [
            string("protection").default("software").to_owned(),
            boolean("exportable").default(false).to_owned(),
        ] {
            manager
                .alter_table(Table::alter().table("vault_key_version").add_column(column).to_owned())
                .await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in ["exportable", "protection"] {
            manager
                .alter_table(Table::alter().table("vault_key_version").drop_column(column).to_owned())
                .await?;
        }
        Ok(())
    }
}
