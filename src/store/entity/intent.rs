//! Acts that were begun and not yet closed by an outcome.

use sea_orm::entity::prelude::*;

/// One open act outside the database.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "intent")]
pub struct Model {
    /// The record id of the intent, 32 hexadecimal digits.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// The node that acts.
    pub node: String,
    /// Unix seconds.
    pub created_at: i64,
    /// The record of the intent as it stands in the log.
    pub record: Vec<u8>,
}

/// No relations: rooms join by name.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
