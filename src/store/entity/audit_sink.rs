//! How far the sinks of audit logs have come.

use sea_orm::entity::prelude::*;

/// One sink of one node.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_sink")]
pub struct Model {
    /// The node whose log it takes.
    #[sea_orm(primary_key, auto_increment = false)]
    pub log: String,
    /// Its name in that node's configuration.
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    /// The index of the record that it gets next; it has taken all before, and perhaps some behind.
    pub next: i64,
}

/// No relations: rooms join by name.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
