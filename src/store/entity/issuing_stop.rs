//! Where issuing is stopped.

use sea_orm::entity::prelude::*;

/// One stop.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "issuing_stop")]
pub struct Model {
    /// Which authority; empty for all.
    #[sea_orm(primary_key, auto_increment = false)]
    pub authority: String,
    /// Which profile; empty for all.
    #[sea_orm(primary_key, auto_increment = false)]
    pub profile: String,
    /// Why, for people.
    pub reason: String,
    /// Who said so.
    pub stopped_by: String,
    /// Unix seconds.
    pub stopped_at: i64,
}

/// No relations: rooms join by name.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
