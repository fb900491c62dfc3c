//! Audit logs whose search index is being made anew.

use sea_orm::entity::prelude::*;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_rebuild")]
pub struct Model {
    /// The node whose log it is.
    #[sea_orm(primary_key, auto_increment = false)]
    pub log: String,
    /// The stretch that comes next; those before are done.
    pub next: i64,
}

/// No relations: rooms join by name.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
