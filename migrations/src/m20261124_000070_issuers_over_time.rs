//! Issuers over time: each has a number and a stage.
//!
//! Expand only: those that are there are the first of their authority and at work.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, string, text};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const TABLE: &str = "authority_issuer";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for mut column in [
            big_integer("number").default(1).to_owned(),
            string("stage").default("active").to_owned(),
            big_integer("stage_at").default(0).to_owned(),
            string("parent").default("").to_owned(),
            text("chain").default("").to_owned(),
            string("key_type").default("").to_owned(),
            string("origin").default("token").to_owned(),
        ] {
            let add = Table::alter().table(TABLE).add_column(&mut column).to_owned();
            manager.alter_table(add).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in ["origin", "key_type", "chain", "parent", "stage_at", "stage", "number"] {
            let drop = Table::alter().table(TABLE).drop_column(column).to_owned();
            manager.alter_table(drop).await?;
        }
        Ok(())
    }
}
