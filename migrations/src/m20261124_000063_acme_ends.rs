//! The ACME server: when an order is over, so that it can be forgotten, and which terms an account agreed to.
//!
//! Expand only: nothing is dropped here.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer_null, text_null};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, column) in [
            ("acme_order", big_integer_null("ends_at")),
            ("acme_account", text_null("terms")),
        ] {
            manager
                .alter_table(Table::alter().table(table).add_column(column).to_owned())
                .await?;
        }
        // Those that are there: with the certificate, or when they ran out.
        manager
            .get_connection()
            .execute_unprepared(
                "update acme_order set ends_at = coalesce((select issued.not_after from issued where issued.serial = \
                 acme_order.serial), expires_at)",
            )
            .await?;
        for (name, table, column) in [
            ("acme_order_ends", "acme_order", "ends_at"),
            ("acme_authorization_expires", "acme_authorization", "expires_at"),
        ] {
            manager
                .create_index(Index::create().name(name).table(table).col(column).to_owned())
                .await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (name, table) in [
            ("acme_order_ends", "acme_order"),
            ("acme_authorization_expires", "acme_authorization"),
        ] {
            manager
                .drop_index(Index::drop().name(name).table(table).to_owned())
                .await?;
        }
        for (table, column) in [("acme_order", "ends_at"), ("acme_account", "terms")] {
            manager
                .alter_table(Table::alter().table(table).drop_column(column).to_owned())
                .await?;
        }
        Ok(())
    }
}
