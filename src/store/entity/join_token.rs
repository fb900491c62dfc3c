//! One-time tokens for an identity's first certificate.

use sea_orm::entity::prelude::*;

/// One token, by its digest: the token itself is kept nowhere.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "join_token")]
pub struct Model {
    /// SHA-256 of the token, hexadecimal.
    #[sea_orm(primary_key, auto_increment = false)]
    pub digest: String,
    /// A SPIFFE ID.
    pub identity: String,
    /// Unix seconds.
    pub created_at: i64,
    /// Unix seconds.
    pub expires_at: i64,
    /// SHA-256 of the public key that it was used with, hexadecimal; none before its first use.
    pub key_digest: Option<String>,
    /// The certificate that it gave; none before one was issued.
    pub serial: Option<String>,
}

/// No relations: rooms join by name.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
