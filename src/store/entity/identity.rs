//! Who may have certificates of this service.

use sea_orm::entity::prelude::*;

/// One identity.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "identity")]
pub struct Model {
    /// A SPIFFE ID.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// Lifetime of its certificates in seconds; none is the profile's.
    pub ttl_s: Option<i64>,
    /// Unix seconds.
    pub created_at: i64,
    /// Since when it is disabled, Unix seconds.
    pub disabled_at: Option<i64>,
    /// How long after its certificate's end it may still renew, in seconds; none is what the configuration says.
    pub grace_s: Option<i64>,
}

/// No relations: rooms join by name.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
