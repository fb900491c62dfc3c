//! The ACME server: external accounts' keys, whom accounts are bound to, and which names they may ask for.
//!
//! Expand only: nothing is dropped here.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, big_integer_null, binary, boolean, string, string_null, text, text_null};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table("acme_external_key")
                    .col(ColumnDef::new("id").string().not_null().primary_key())
                    .col(string("authority"))
                    .col(binary("sealed"))
                    .col(text("identity"))
                    .col(text("rules"))
                    .col(boolean("trusted"))
                    .col(boolean("reusable"))
                    .col(big_integer("created_at"))
                    .col(text("created_by"))
                    .col(big_integer_null("expires_at"))
                    .col(big_integer("used"))
                    .to_owned(),
            )
            .await?;
        // One column a statement: SQLite takes no more.
        let columns = [
            string_null("external_key"),
            text_null("identity"),
            text_null("binding"),
            text_null("rules"),
            ColumnDef::new("trusted").boolean().not_null().default(false).to_owned(),
        ];
        for column in columns {
            manager
                .alter_table(Table::alter().table("acme_account").add_column(column).to_owned())
                .await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in ["trusted", "rules", "binding", "identity", "external_key"] {
            manager
                .alter_table(Table::alter().table("acme_account").drop_column(column).to_owned())
                .await?;
        }
        manager
            .drop_table(Table::drop().table("acme_external_key").to_owned())
            .await
    }
}
