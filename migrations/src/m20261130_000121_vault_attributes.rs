//! Vaults: tags, how long what is deleted is kept, purge protection, deletion with recovery.
//!
//! Expand only: nothing is dropped here. A vault without `retention_days` keeps for 90.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer_null, text_null};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

fn columns() -> [ColumnDef; 6] {
    [
        text_null("tags"),
        big_integer_null("retention_days"),
        ColumnDef::new("purge_protection")
            .boolean()
            .not_null()
            .default(false)
            .to_owned(),
        ColumnDef::new("revision")
            .big_integer()
            .not_null()
            .default(1)
            .to_owned(),
        big_integer_null("deleted_at"),
        big_integer_null("purge_at"),
    ]
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in columns() {
            manager
                .alter_table(Table::alter().table("vault").add_column(column).to_owned())
                .await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in columns() {
            manager
                .alter_table(
                    Table::alter()
                        .table("vault")
                        .drop_column(column.get_column_name())
                        .to_owned(),
                )
                .await?;
        }
        Ok(())
    }
}
