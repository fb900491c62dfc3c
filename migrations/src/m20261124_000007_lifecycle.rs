//! Certificate objects, their versions and their renewals.
//!
//! Expand only: nothing is dropped here.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, big_integer_null, binary, binary_null, boolean, integer, string, string_null, text, text_null,
};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table("certificate")
                    .col(ColumnDef::new("id").string().not_null().primary_key())
                    .col(string("vault"))
                    .col(string("name"))
                    .col(string("issuer"))
                    .col(text("spec"))
                    .col(string_null("current_version"))
                    .col(integer("hurried"))
                    .col(big_integer("created_at"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("certificate_name")
                    .table("certificate")
                    .col("vault")
                    .col("name")
                    .unique()
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table("certificate_version")
                    .col(ColumnDef::new("id").string().not_null().primary_key())
                    .col(string("certificate_id"))
                    .col(big_integer("ordinal"))
                    .col(string("issuer"))
                    .col(string("serial"))
                    .col(big_integer("not_before"))
                    .col(big_integer("not_after"))
                    .col(string("fingerprint"))
                    .col(text("chain"))
                    .col(binary("key_sealed"))
                    .col(big_integer("created_at"))
                    .col(big_integer_null("revoked_at"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("certificate_version_ordinal")
                    .table("certificate_version")
                    .col("certificate_id")
                    .col("ordinal")
                    .unique()
                    .to_owned(),
            )
            .await?;
        self.renewal(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["renewal", "certificate_version", "certificate"] {
            manager.drop_table(Table::drop().table(table).to_owned()).await?;
        }
        Ok(())
    }
}

impl Migration {
    async fn renewal(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table("renewal")
                    .col(ColumnDef::new("id").string().not_null().primary_key())
                    .col(string("certificate_id"))
                    .col(string("vault"))
                    .col(string("name"))
                    .col(string("issuer"))
                    .col(string("state"))
                    .col(string("basis"))
                    .col(big_integer("due_at"))
                    .col(big_integer_null("next_at"))
                    .col(big_integer_null("ari_at"))
                    .col(big_integer_null("window_start"))
                    .col(big_integer_null("window_end"))
                    .col(string_null("node"))
                    .col(string_null("lease_node"))
                    .col(big_integer("lease_until"))
                    .col(integer("failures"))
                    .col(integer("refusals"))
                    .col(text_null("last_error"))
                    .col(boolean("stopped"))
                    .col(string_null("version_id"))
                    .col(binary_null("key_sealed"))
                    .col(binary_null("csr"))
                    .col(text_null("order_url"))
                    .col(string_null("serial"))
                    .col(big_integer("created_at"))
                    .col(big_integer("updated_at"))
                    .to_owned(),
            )
            .await?;
        for (name, columns) in [
            ("renewal_next", ["next_at", "lease_until"]),
            ("renewal_certificate", ["certificate_id", "id"]),
        ] {
            let mut index = Index::create();
            index.name(name).table("renewal");
            for column in columns {
                index.col(column);
            }
            manager.create_index(index.to_owned()).await?;
        }
        Ok(())
    }
}
