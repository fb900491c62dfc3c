//! Versions of profiles, and which one an ACME order began with.
//!
//! Expand only: nothing is dropped here. An order without a version is finished by the one that is in force.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, string, string_null, text};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table("profile_version")
                    .col(ColumnDef::new("hash").string().not_null().primary_key())
                    .col(string("name"))
                    .col(text("text"))
                    .col(big_integer("created_at"))
                    .to_owned(),
            )
            .await?;
        let column = string_null("profile_hash");
        let alter = Table::alter().table("acme_order").add_column(column).to_owned();
        manager.alter_table(alter).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let alter = Table::alter()
            .table("acme_order")
            .drop_column("profile_hash")
            .to_owned();
        manager.alter_table(alter).await?;
        manager
            .drop_table(Table::drop().table("profile_version").to_owned())
            .await
    }
}
