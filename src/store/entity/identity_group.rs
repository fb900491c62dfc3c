//! Who is in which group.

use sea_orm::entity::prelude::*;

/// One identity in one group, by one of the things that can put it there.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "identity_group")]
pub struct Model {
    /// A SPIFFE ID.
    #[sea_orm(primary_key, auto_increment = false)]
    pub identity: String,
    /// A registration entry's id, or `registration`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub origin: String,
    /// The group's name.
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
}

/// No relations: rooms join by name.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
