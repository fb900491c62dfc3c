//! Audit records of nodes that have no disk of their own.

use sea_orm::entity::prelude::*;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_entry")]
pub struct Model {
    /// The node whose log it is.
    #[sea_orm(primary_key, auto_increment = false)]
    pub log: String,
    /// The record's index in its log.
    #[sea_orm(primary_key, auto_increment = false)]
    pub idx: i64,
    /// The leaf bytes.
    pub record: Vec<u8>,
}

/// No relations: rooms join by name.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
