//! Requests for certificates by the key that their caller tells them apart by.

use sea_orm::entity::prelude::*;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "issue_request")]
pub struct Model {
    /// Whose key it is.
    #[sea_orm(primary_key, auto_increment = false)]
    pub requested_by: String,
    /// As the caller gave it.
    #[sea_orm(primary_key, auto_increment = false)]
    pub idempotency_key: String,
    /// SHA-256 of what was asked for, hexadecimal.
    pub digest: String,
    /// The certificate that it gave or is to give.
    pub serial: String,
    /// Unix seconds.
    pub created_at: i64,
}

/// No relations: rooms join by name.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
