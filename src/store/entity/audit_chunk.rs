//! Stretches of audit logs that the search index holds.

use sea_orm::entity::prelude::*;

/// One stretch.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_chunk")]
pub struct Model {
    /// The node whose log it is.
    #[sea_orm(primary_key, auto_increment = false)]
    pub log: String,
    /// Its number: a log's stretches are of equal length and are counted from 0.
    #[sea_orm(primary_key, auto_increment = false)]
    pub chunk: i64,
    /// The earliest time in it, in milliseconds since the epoch.
    pub first_ms: i64,
    /// The latest.
    pub last_ms: i64,
    /// The root of the tree over its records.
    pub root: Vec<u8>,
    /// Where records of it lie in the journal.
    pub offsets: Vec<u8>,
}

/// No relations: rooms join by name.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
