//! Keys that are never certified.

use sea_orm::entity::prelude::*;

/// One key.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "blocked_key")]
pub struct Model {
    /// SHA-256 of its `SubjectPublicKeyInfo`, hexadecimal.
    #[sea_orm(primary_key, auto_increment = false)]
    pub spki_sha256: String,
    /// Why, for people.
    pub reason: String,
    /// Who said so.
    pub blocked_by: String,
    /// Unix seconds.
    pub blocked_at: i64,
}

/// No relations: rooms join by name.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
