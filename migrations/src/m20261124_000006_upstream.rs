//! Upstream issuers, and the challenge answers that any node serves.
//!
//! Expand only: nothing is dropped here.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, binary, string, string_null, text, text_null};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table("issuer")
                    .col(ColumnDef::new("name").string().not_null().primary_key())
                    .col(string("kind"))
                    .col(text("directory"))
                    .col(text_null("ca_pem"))
                    .col(string_null("account_url"))
                    .col(binary("account_key"))
                    .col(text("contacts"))
                    .col(big_integer("created_at"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table("acme_challenge")
                    .col(ColumnDef::new("token").string().not_null().primary_key())
                    .col(string("key_authorization"))
                    .col(text("order_url"))
                    .col(big_integer("expires_at"))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["acme_challenge", "issuer"] {
            manager.drop_table(Table::drop().table(table).to_owned()).await?;
        }
        Ok(())
    }
}
