//! Identities that may have certificates, and the one-time tokens by which they get the first.
//!
//! Expand only: nothing is dropped here.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, big_integer_null, string_null};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table("identity")
                    .col(ColumnDef::new("id").string_len(2048).not_null().primary_key())
                    .col(big_integer_null("ttl_s"))
                    .col(big_integer("created_at"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table("join_token")
                    .col(ColumnDef::new("digest").string().not_null().primary_key())
                    .col(ColumnDef::new("identity").string_len(2048).not_null())
                    .col(big_integer("created_at"))
                    .col(big_integer("expires_at"))
                    .col(string_null("key_digest"))
                    .col(string_null("serial"))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["join_token", "identity"] {
            manager.drop_table(Table::drop().table(table).to_owned()).await?;
        }
        Ok(())
    }
}
