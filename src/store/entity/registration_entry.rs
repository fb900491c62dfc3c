//! By what an identity is had, beside join tokens.

use sea_orm::entity::prelude::*;

/// One way.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "registration_entry")]
pub struct Model {
    /// 32 hexadecimal digits, in the order of their making.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// A SPIFFE ID.
    pub identity: String,
    /// Who vouches for the caller: what entries are looked up by.
    pub source: String,
    /// What must be shown, JSON.
    pub way: String,
    /// Unix seconds.
    pub created_at: i64,
}

/// No relations: rooms join by name.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
