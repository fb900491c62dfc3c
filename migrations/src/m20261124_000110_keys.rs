//! Keys in vaults and their versions.
//!
//! Expand only: nothing is dropped here. `vault_key_version.sealed` opens only by its vault's DEK.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, big_integer_null, binary, binary_null, boolean, string, text};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table("vault_key")
                    .col(ColumnDef::new("id").string().not_null().primary_key())
                    .col(string("vault"))
                    .col(string("name"))
                    .col(big_integer("latest"))
                    .col(big_integer("revision"))
                    .col(big_integer("created_at"))
                    .col(big_integer("updated_at"))
                    .col(big_integer_null("deleted_at"))
                    .col(big_integer_null("purge_at"))
                    .foreign_key(
                        ForeignKey::create()
                            .name("vault_key_vault")
                            .from("vault_key", "vault")
                            .to("vault", "name"),
                    )
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("vault_key_vault_name")
                    .table("vault_key")
                    .col("vault")
                    .col("name")
                    .unique()
                    .to_owned(),
            )
            .await?;
        // The builder cannot say `WHERE`; both databases can. Few keys are deleted, and the sweep asks for no others.
        manager
            .get_connection()
            .execute_unprepared("CREATE INDEX vault_key_purge ON vault_key (purge_at) WHERE purge_at IS NOT NULL")
            .await?;
        manager
            .create_table(
                Table::create()
                    .table("vault_key_version")
                    .col(ColumnDef::new("id").string().not_null().primary_key())
                    .col(string("key_id"))
                    .col(big_integer("ordinal"))
                    .col(string("kind"))
                    .col(boolean("enabled"))
                    .col(big_integer_null("not_before"))
                    .col(big_integer_null("expires"))
                    .col(string("ops"))
                    .col(text("tags"))
                    .col(binary("sealed"))
                    .col(binary_null("public"))
                    .col(big_integer("created_at"))
                    .col(string("created_by"))
                    .col(big_integer("updated_at"))
                    .foreign_key(
                        ForeignKey::create()
                            .name("vault_key_version_key")
                            .from("vault_key_version", "key_id")
                            .to("vault_key", "id")
                            .on_delete(ForeignKeyAction::Cascade),
                    )
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("vault_key_version_ordinal")
                    .table("vault_key_version")
                    .col("key_id")
                    .col("ordinal")
                    .unique()
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["vault_key_version", "vault_key"] {
            manager.drop_table(Table::drop().table(table).to_owned()).await?;
        }
        Ok(())
    }
}
