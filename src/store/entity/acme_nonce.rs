//! Nonces of the ACME server that were used.

use sea_orm::entity::prelude::*;

/// One used nonce.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "acme_nonce")]
pub struct Model {
    /// Its random part, hexadecimal.
    #[sea_orm(primary_key, auto_increment = false)]
    pub nonce: String,
    /// Unix seconds.
    pub minted_at: i64,
}

/// No relations: rooms join by name.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
