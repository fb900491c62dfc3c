//! Vaults, secrets and their versions, and the data-encryption keys (DEK) that seal what the store keeps.
//!
//! Expand only: nothing is dropped here. `dek.wrapped` opens only by the token's key-encryption key (KEK),
//! `secret_version.sealed` only by its DEK.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, big_integer_null, binary, string, string_null, text};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table("dek")
                    .col(ColumnDef::new("id").string().not_null().primary_key())
                    .col(string("domain"))
                    .col(big_integer("generation"))
                    .col(binary("wrapped"))
                    .col(string("kek"))
                    .col(big_integer("reserved"))
                    .col(big_integer("created_at"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("dek_domain_generation")
                    .table("dek")
                    .col("domain")
                    .col("generation")
                    .unique()
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table("vault")
                    .col(ColumnDef::new("name").string().not_null().primary_key())
                    .col(big_integer("created_at"))
                    .col(string("created_by"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table("secret")
                    .col(ColumnDef::new("id").string().not_null().primary_key())
                    .col(string("vault"))
                    .col(string("name"))
                    .col(big_integer("latest"))
                    .col(big_integer("created_at"))
                    .col(big_integer("updated_at"))
                    .col(big_integer_null("deleted_at"))
                    .col(big_integer_null("purge_at"))
                    .foreign_key(
                        ForeignKey::create()
                            .name("secret_vault")
                            .from("secret", "vault")
                            .to("vault", "name"),
                    )
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("secret_vault_name")
                    .table("secret")
                    .col("vault")
                    .col("name")
                    .unique()
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table("secret_version")
                    .col(ColumnDef::new("id").string().not_null().primary_key())
                    .col(string("secret_id"))
                    .col(big_integer("ordinal"))
                    .col(string_null("content_type"))
                    .col(text("tags"))
                    .col(binary("sealed"))
                    .col(big_integer("created_at"))
                    .col(string("created_by"))
                    .foreign_key(
                        ForeignKey::create()
                            .name("secret_version_secret")
                            .from("secret_version", "secret_id")
                            .to("secret", "id")
                            .on_delete(ForeignKeyAction::Cascade),
                    )
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("secret_version_ordinal")
                    .table("secret_version")
                    .col("secret_id")
                    .col("ordinal")
                    .unique()
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["secret_version", "secret", "vault", "dek"] {
            manager.drop_table(Table::drop().table(table).to_owned()).await?;
        }
        Ok(())
    }
}
