//! Which folder a certificate object is delivered to: no two may have the same.
//!
//! Expand only: objects that were made before have none noted.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::text_null;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let add = Table::alter()
            .table("certificate")
            .add_column(text_null("delivers_to"))
            .to_owned();
        manager.alter_table(add).await?;
        manager
            .create_index(
                Index::create()
                    .name("certificate_delivers_to")
                    .table("certificate")
                    .col("delivers_to")
                    .unique()
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let index = Index::drop()
            .name("certificate_delivers_to")
            .table("certificate")
            .to_owned();
        manager.drop_index(index).await?;
        let drop = Table::alter()
            .table("certificate")
            .drop_column("delivers_to")
            .to_owned();
        manager.alter_table(drop).await
    }
}
