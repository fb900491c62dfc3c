//! Answers to ACME challenges that are being validated now.

use sea_orm::entity::prelude::*;

/// One http-01 answer (RFC 8555 §8.3). It is public by nature.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "acme_challenge")]
pub struct Model {
    /// The challenge's token.
    #[sea_orm(primary_key, auto_increment = false)]
    pub token: String,
    /// What to answer.
    pub key_authorization: String,
    /// The order that it is for.
    #[sea_orm(column_type = "Text")]
    pub order_url: String,
    /// Unix seconds; after this it may be swept.
    pub expires_at: i64,
}

/// No relations: rooms join by name.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
