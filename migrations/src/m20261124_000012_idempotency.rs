//! Requests for certificates that are told apart by a key of their caller's, so that a repeated one gives the same.
//!
//! Expand only: nothing is dropped here.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, string};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table("issue_request")
                    .col(string("requested_by"))
                    .col(string("idempotency_key"))
                    .col(string("digest"))
                    .col(string("serial"))
                    .col(big_integer("created_at"))
                    .primary_key(Index::create().col("requested_by").col("idempotency_key"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("issue_request_created_at")
                    .table("issue_request")
                    .col("created_at")
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("issue_request").to_owned())
            .await
    }
}
