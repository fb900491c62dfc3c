//! How much was asked for under a key.

use sea_orm::entity::prelude::*;

/// One key.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "rate_limit")]
pub struct Model {
    /// What is counted.
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    /// When what was asked for is paid off, in microseconds since the epoch; then the row says nothing.
    pub paid_at: i64,
    /// By how much the newest asking moved that, in microseconds.
    pub step: i64,
    /// How late it might have been before, so that the newest asking fitted.
    pub room: i64,
}

/// No relations: rooms join by name.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
