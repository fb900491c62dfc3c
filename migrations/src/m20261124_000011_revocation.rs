//! Revocations in the order of their making, by the shard of the list that names them, and the certificates of OCSP
//! responders.
//!
//! Expand only, but for an index: `issued_revoked` held a row for each certificate; those in its place hold only what is
//! revoked, so that issuing does not pay for them.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, big_integer_null, binary, string};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in [big_integer("shard").default(0).to_owned(), big_integer_null("revision")] {
            let alter = Table::alter().table("issued").add_column(column).to_owned();
            manager.alter_table(alter).await?;
        }
        let connection = manager.get_connection();
        // What was revoked before comes before the first that is counted.
        connection
            .execute_unprepared("UPDATE issued SET revision = 0 WHERE revoked_at IS NOT NULL")
            .await?;
        let old = Index::drop().name("issued_revoked").table("issued").to_owned();
        manager.drop_index(old).await?;
        // What is new, what is not expired yet, and whose key is never certified again (RFC 5280's reason 1). The
        // builder cannot say `WHERE`; both databases can.
        for index in [
            "issued_revision ON issued (issuer, revision, serial) WHERE revoked_at IS NOT NULL",
            "issued_revoked_unexpired ON issued (issuer, not_after, serial) WHERE revoked_at IS NOT NULL",
            "issued_compromised ON issued (issuer, revision) WHERE reason = 1",
        ] {
            connection.execute_unprepared(&format!("CREATE INDEX {index}")).await?;
        }
        manager
            .create_table(
                Table::create()
                    .table("ocsp_responder")
                    .col(ColumnDef::new("issuer").string().not_null().primary_key())
                    .col(string("key_label"))
                    .col(binary("certificate"))
                    .col(big_integer("not_after"))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("ocsp_responder").to_owned())
            .await?;
        for name in ["issued_revision", "issued_revoked_unexpired", "issued_compromised"] {
            manager
                .drop_index(Index::drop().name(name).table("issued").to_owned())
                .await?;
        }
        for column in ["revision", "shard"] {
            let alter = Table::alter().table("issued").drop_column(column).to_owned();
            manager.alter_table(alter).await?;
        }
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
            .await
    }
}
