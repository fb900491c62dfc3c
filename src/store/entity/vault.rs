//! A vault: a namespace of objects, with its own data-encryption key.

use sea_orm::entity::prelude::*;

/// A row of `vault`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "vault")]
pub struct Model {
    /// Its name, a DNS label.
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    /// Unix seconds.
    pub created_at: i64,
    /// Who created it.
    pub created_by: String,
}

/// No relations are followed.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
