//! By what else than a join token an identity is had, what was shown for a certificate, and how long after its
//! certificate's end an identity may still renew.
//!
//! Expand only: nothing is dropped here, and no identity has grace at first.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, big_integer_null, string, string_null, text};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table("registration_entry")
                    .col(ColumnDef::new("id").string().not_null().primary_key())
                    .col(ColumnDef::new("identity").string_len(2048).not_null())
                    .col(ColumnDef::new("source").string_len(2048).not_null())
                    .col(text("way"))
                    .col(big_integer("created_at"))
                    .to_owned(),
            )
            .await?;
        for column in ["identity", "source"] {
            let name = format!("registration_entry_{column}");
            manager
                .create_index(
                    Index::create()
                        .name(name)
                        .table("registration_entry")
                        .col(column)
                        .to_owned(),
                )
                .await?;
        }
        manager
            .create_table(
                Table::create()
                    .table("spent_proof")
                    .col(ColumnDef::new("digest").string().not_null().primary_key())
                    .col(string("key_digest"))
                    .col(string_null("serial"))
                    .col(big_integer("expires_at"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("spent_proof_expires_at")
                    .table("spent_proof")
                    .col("expires_at")
                    .to_owned(),
            )
            .await?;
        let grace = Table::alter()
            .table("identity")
            .add_column(big_integer_null("grace_s"))
            .to_owned();
        manager.alter_table(grace).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let grace = Table::alter().table("identity").drop_column("grace_s").to_owned();
        manager.alter_table(grace).await?;
        for table in ["spent_proof", "registration_entry"] {
            manager.drop_table(Table::drop().table(table).to_owned()).await?;
        }
        Ok(())
    }
}
