//! The ACME server: accounts, orders, authorizations with their challenges, nonces that were used, and the key that
//! nonces are made with.
//!
//! Expand only: nothing is dropped here.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, big_integer_null, binary, boolean, string, string_null, text, text_null};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tables = [
            Table::create()
                .table("acme_account")
                .col(ColumnDef::new("id").string().not_null().primary_key())
                .col(string("authority"))
                .col(string("status"))
                .col(string("thumbprint"))
                .col(text("jwk"))
                .col(string("spki_sha256"))
                .col(text("contact"))
                .col(big_integer_null("terms_agreed_at"))
                .col(big_integer("created_at"))
                .to_owned(),
            Table::create()
                .table("acme_order")
                .col(ColumnDef::new("id").string().not_null().primary_key())
                .col(string("account"))
                .col(string("status"))
                .col(string("profile"))
                .col(text("identifiers"))
                .col(text("authorizations"))
                .col(big_integer("created_at"))
                .col(big_integer("expires_at"))
                .col(text_null("error"))
                .col(text_null("spki"))
                .col(string_null("serial"))
                .col(string_null("holder"))
                .col(big_integer_null("leased_until"))
                .to_owned(),
            Table::create()
                .table("acme_authorization")
                .col(ColumnDef::new("id").string().not_null().primary_key())
                .col(string("account"))
                .col(string("identifier"))
                .col(boolean("wildcard"))
                .col(string("status"))
                .col(string("seed"))
                .col(big_integer("expires_at"))
                .col(string_null("method"))
                .col(text_null("account_url"))
                .col(big_integer_null("validated_at"))
                .col(text_null("error"))
                .col(string_null("holder"))
                .col(big_integer_null("leased_until"))
                .to_owned(),
            // A nonce that was used, until it is too old to be taken anyway.
            Table::create()
                .table("acme_nonce")
                .col(ColumnDef::new("nonce").string().not_null().primary_key())
                .col(big_integer("minted_at"))
                .to_owned(),
            Table::create()
                .table("acme_key")
                .col(ColumnDef::new("name").string().not_null().primary_key())
                .col(binary("sealed"))
                .to_owned(),
        ];
        for table in tables {
            manager.create_table(table).await?;
        }
        let indices = [
            Index::create()
                .name("acme_account_thumbprint")
                .table("acme_account")
                .col("authority")
                .col("thumbprint")
                .unique()
                .to_owned(),
            Index::create()
                .name("acme_account_spki")
                .table("acme_account")
                .col("spki_sha256")
                .to_owned(),
            Index::create()
                .name("acme_order_account")
                .table("acme_order")
                .col("account")
                .col("id")
                .to_owned(),
            Index::create()
                .name("acme_order_serial")
                .table("acme_order")
                .col("serial")
                .unique()
                .to_owned(),
            Index::create()
                .name("acme_order_leased")
                .table("acme_order")
                .col("leased_until")
                .to_owned(),
            Index::create()
                .name("acme_authorization_account")
                .table("acme_authorization")
                .col("account")
                .col("identifier")
                .to_owned(),
            Index::create()
                .name("acme_authorization_leased")
                .table("acme_authorization")
                .col("leased_until")
                .to_owned(),
            Index::create()
                .name("acme_nonce_minted")
                .table("acme_nonce")
                .col("minted_at")
                .to_owned(),
        ];
        for index in indices {
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [
            "acme_key",
            "acme_nonce",
            "acme_authorization",
            "acme_order",
            "acme_account",
        ] {
            manager.drop_table(Table::drop().table(table).to_owned()).await?;
        }
        Ok(())
    }
}
