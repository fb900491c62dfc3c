//! What the search index knows of a stretch of an audit log.

use sea_orm::entity::prelude::*;

/// Some of its terms.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_posting")]
pub struct Model {
    /// The node whose log it is.
    #[sea_orm(primary_key, auto_increment = false)]
    pub log: String,
    /// Which of 256 parts of all terms.
    #[sea_orm(primary_key, auto_increment = false)]
    pub bucket: i32,
    /// The stretch.
    #[sea_orm(primary_key, auto_increment = false)]
    pub chunk: i64,
    /// The terms, and which records have them.
    pub postings: Vec<u8>,
}

/// No relations: rooms join by name.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
