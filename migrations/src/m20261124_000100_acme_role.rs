//! The ACME server: the role of accounts that were made with an external account's key.
//!
//! Expand only: nothing is dropped here. Without a role an account does what any account may.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::string_null;

const TABLES: [&str; 2] = ["acme_account", "acme_external_key"];

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in TABLES {
            manager
                .alter_table(Table::alter().table(table).add_column(string_null("role")).to_owned())
                .await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in TABLES {
            manager
                .alter_table(Table::alter().table(table).drop_column("role").to_owned())
                .await?;
        }
        Ok(())
    }
}
