//! Audit records that were committed with their change and are on their way to the log.

use sea_orm::entity::prelude::*;

/// One waiting record.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "outbox")]
pub struct Model {
    /// The node whose log it belongs to.
    #[sea_orm(primary_key, auto_increment = false)]
    pub node: String,
    /// Commit order within the node.
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
    /// The record's id, by which draining is idempotent.
    pub record_id: String,
    /// The leaf bytes.
    pub record: Vec<u8>,
}

/// No relations: rooms join by name.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
