//! The ACME server: which certificate an order replaces.
//!
//! Expand only: nothing is dropped here.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{string_null, text_null};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // One column a statement: SQLite takes no more.
        for column in [text_null("replaces"), string_null("replacing")] {
            manager
                .alter_table(Table::alter().table("acme_order").add_column(column).to_owned())
                .await?;
        }
        manager
            .create_index(
                Index::create()
                    .name("acme_order_replacing")
                    .table("acme_order")
                    .col("replacing")
                    .unique()
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_index(
                Index::drop()
                    .name("acme_order_replacing")
                    .table("acme_order")
                    .to_owned(),
            )
            .await?;
        for column in ["replacing", "replaces"] {
            manager
                .alter_table(Table::alter().table("acme_order").drop_column(column).to_owned())
                .await?;
        }
        Ok(())
    }
}
