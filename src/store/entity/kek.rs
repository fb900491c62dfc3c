//! A generation of the key-encryption key.

use sea_orm::entity::prelude::*;

/// One generation.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "kek")]
pub struct Model {
    /// From 1.
    #[sea_orm(primary_key, auto_increment = false)]
    pub generation: i64,
    /// The key's label in the token.
    pub label: String,
    /// `requested`, `active`, `former` or `retired`.
    pub stage: String,
    /// Unix seconds; since when.
    pub stage_at: i64,
}

/// No relations: rooms join by name.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
