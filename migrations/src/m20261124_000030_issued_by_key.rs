//! Certificates by their keys: all of a compromised key are revoked at once.
//!
//! Expand only: nothing is dropped here.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_index(
                Index::create()
                    .name("issued_spki")
                    .table("issued")
                    .col("spki_sha256")
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_index(Index::drop().name("issued_spki").table("issued").to_owned())
            .await
    }
}
