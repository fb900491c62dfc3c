//! How secrets are rotated, and how far each rotation has come.
//!
//! Expand only: nothing is dropped here, and no secret is rotated at first.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, big_integer_null, boolean, integer, string, string_null, text, text_null,
};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table("secret_rotation")
                    .col(ColumnDef::new("secret_id").string().not_null().primary_key())
                    .col(string("rotator"))
                    .col(big_integer_null("every_s"))
                    .col(text_null("cron"))
                    .col(big_integer_null("window_s"))
                    .col(text("generate"))
                    .col(string_null("step"))
                    .col(string_null("version_id"))
                    .col(big_integer_null("old_ordinal"))
                    .col(big_integer_null("due_at"))
                    .col(big_integer_null("next_at"))
                    .col(integer("failures"))
                    .col(boolean("paused"))
                    .col(text_null("last_error"))
                    .col(big_integer_null("rotated_at"))
                    .col(string_null("lease_node"))
                    .col(big_integer("lease_until"))
                    .col(big_integer("created_at"))
                    .col(string("created_by"))
                    .col(big_integer("updated_at"))
                    .foreign_key(
                        ForeignKey::create()
                            .name("secret_rotation_secret")
                            .from("secret_rotation", "secret_id")
                            .to("secret", "id")
                            .on_delete(ForeignKeyAction::Cascade),
                    )
                    .to_owned(),
            )
            .await?;
        // The builder cannot say `WHERE`; both databases can. What is paused waits for no time.
        manager
            .get_connection()
            .execute_unprepared(
                "CREATE INDEX secret_rotation_next ON secret_rotation (next_at) WHERE next_at IS NOT NULL",
            )
            .await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("secret_rotation").to_owned())
            .await
    }
}
