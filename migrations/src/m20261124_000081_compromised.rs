//! Whether a key was revoked as compromised is asked with every issuance: not by reading every certificate of the key.
//!
//! Expand only, but for an index: nothing asks any more for what `issued_compromised` was made for.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // The builder cannot say `WHERE`; both databases can. 1 is keyCompromise (RFC 5280 §5.3.1).
        manager
            .get_connection()
            .execute_unprepared("CREATE INDEX issued_compromised_key ON issued (spki_sha256) WHERE reason = 1")
            .await?;
        manager
            .drop_index(Index::drop().name("issued_compromised").table("issued").to_owned())
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .get_connection()
            .execute_unprepared("CREATE INDEX issued_compromised ON issued (issuer, revision) WHERE reason = 1")
            .await?;
        manager
            .drop_index(Index::drop().name("issued_compromised_key").table("issued").to_owned())
            .await
    }
}
