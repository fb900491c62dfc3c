//! Texts of profiles that certificates were issued by.

use sea_orm::entity::prelude::*;

/// One version of a profile.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "profile_version")]
pub struct Model {
    /// SHA-256 of the text, hexadecimal.
    #[sea_orm(primary_key, auto_increment = false)]
    pub hash: String,
    /// The profile's name.
    pub name: String,
    /// The file, as it was read.
    #[sea_orm(column_type = "Text")]
    pub text: String,
    /// When it was first read, unix seconds.
    pub created_at: i64,
}

/// No relations: rooms join by name.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
