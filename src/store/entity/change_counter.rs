//! How often a node changed something under a topic; other nodes drop their caches by it.

use sea_orm::entity::prelude::*;

/// One node's counter of one topic.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "change_counter")]
pub struct Model {
    /// The node that changes.
    #[sea_orm(primary_key, auto_increment = false)]
    pub node: String,
    /// A [`crate::store::Topic`] as text.
    #[sea_orm(primary_key, auto_increment = false)]
    pub topic: String,
    /// Grows by at least one with every commit that touches the topic.
    pub value: i64,
}

/// No relations: rooms join by name.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
