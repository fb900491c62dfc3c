//! Our own authorities: issuers (a CA certificate and the label of its key), what they issued or reserved, and their
//! revocation lists.
//!
//! Expand only: nothing is dropped here.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, big_integer_null, binary, binary_null, string, text};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table("authority_issuer")
                    .col(ColumnDef::new("label").string().not_null().primary_key())
                    .col(string("authority"))
                    .col(string("role"))
                    .col(string("serial"))
                    .col(binary("certificate"))
                    .col(big_integer("not_after"))
                    .col(big_integer("revision"))
                    .col(big_integer("crl_number"))
                    .col(big_integer("created_at"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table("issued")
                    .col(ColumnDef::new("serial").string().not_null().primary_key())
                    .col(string("id"))
                    .col(string("issuer"))
                    .col(string("profile"))
                    .col(string("profile_hash"))
                    .col(binary("tbs"))
                    .col(binary_null("certificate"))
                    .col(string("spki_sha256"))
                    .col(text("subject"))
                    .col(text("names"))
                    .col(text("requested_by"))
                    .col(big_integer("not_before"))
                    .col(big_integer("not_after"))
                    .col(big_integer("created_at"))
                    .col(big_integer_null("revoked_at"))
                    .col(big_integer_null("reason"))
                    .to_owned(),
            )
            .await?;
        // Lists walk by `id`, whoever issued; revocations by time, within an issuer.
        manager
            .create_index(
                Index::create()
                    .name("issued_id")
                    .table("issued")
                    .col("id")
                    .unique()
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("issued_revoked")
                    .table("issued")
                    .col("issuer")
                    .col("revoked_at")
                    .col("serial")
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table("crl")
                    .col(string("issuer"))
                    .col(big_integer("shard"))
                    .col(big_integer("number"))
                    .col(big_integer("revision"))
                    .col(binary("list"))
                    .col(big_integer("this_update"))
                    .col(big_integer("next_update"))
                    .primary_key(Index::create().col("issuer").col("shard"))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["crl", "issued", "authority_issuer"] {
            manager.drop_table(Table::drop().table(table).to_owned()).await?;
        }
        Ok(())
    }
}
