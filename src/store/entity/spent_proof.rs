//! What callers showed for their certificates, so that it is not taken twice and a lost answer can be given again.

use sea_orm::entity::prelude::*;

/// One proof, by its digest.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "spent_proof")]
pub struct Model {
    /// SHA-256, hexadecimal.
    #[sea_orm(primary_key, auto_increment = false)]
    pub digest: String,
    /// SHA-256 of the public key that it was shown with, hexadecimal.
    pub key_digest: String,
    /// The certificate that it gave; none before one was issued.
    pub serial: Option<String>,
    /// Until when it is remembered, Unix seconds.
    pub expires_at: i64,
}

/// No relations: rooms join by name.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
