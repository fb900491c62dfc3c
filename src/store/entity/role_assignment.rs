//! Who holds which role where.

use sea_orm::entity::prelude::*;

/// One assignment.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "role_assignment")]
pub struct Model {
    /// 32 hexadecimal digits; sorts by the time of its making.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// A SPIFFE ID, `<SPIFFE ID>/*`, or `group:<name>`.
    pub principal: String,
    /// The role's name in full; `deny:` before it takes what it gives.
    pub role: String,
    /// A scope's path.
    pub scope: String,
    /// Unix seconds; none is at once.
    pub not_before: Option<i64>,
    /// Unix seconds; none is for good.
    pub expires_at: Option<i64>,
    /// Unix seconds.
    pub created_at: i64,
}

/// No relations: rooms join by name.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
