//! Named leases: one holder at a time.

use sea_orm::entity::prelude::*;

/// One lease.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "lease")]
pub struct Model {
    /// What is leased.
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    /// The node that holds it.
    pub holder: String,
    /// Unix seconds.
    pub expires_at: i64,
}

/// No relations: rooms join by name.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
