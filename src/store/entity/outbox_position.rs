//! How far a node has drained its outbox.

use sea_orm::entity::prelude::*;

/// One node's position.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "outbox_position")]
pub struct Model {
    /// The node.
    #[sea_orm(primary_key, auto_increment = false)]
    pub node: String,
    /// Every outbox row up to this sequence number is in the log.
    pub seq: i64,
    /// The size of the log when that was noted: later records are looked for from here.
    pub log_size: i64,
}

/// No relations: rooms join by name.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
