//! Who writes a log, and what a start need not look for before its newest checkpoint.
//!
//! Expand only: `epoch` counts the processes that opened the log, so that an older one cannot write behind a newer;
//! `frontier` holds the hashes from which the checkpoint's tree grows on, empty for a checkpoint from before;
//! `outbox_seq` is the last row of the outbox that was in the log then.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, binary_null};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // One column a statement: SQLite takes no more.
        let numbers = ["epoch", "outbox_seq"].map(|name| big_integer(name).default(0).to_owned());
        for column in numbers.into_iter().chain([binary_null("frontier")]) {
            manager
                .alter_table(Table::alter().table("audit_log").add_column(column).to_owned())
                .await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in ["epoch", "outbox_seq", "frontier"] {
            manager
                .alter_table(Table::alter().table("audit_log").drop_column(column).to_owned())
                .await?;
        }
        Ok(())
    }
}
