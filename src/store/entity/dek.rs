//! A data-encryption key, wrapped by the token's key-encryption key.

use sea_orm::entity::prelude::*;

/// A row of `dek`.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "dek")]
pub struct Model {
    /// 32 hexadecimal digits; also in every value that it seals.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// What it seals: `vault/<name>` or `system`.
    pub domain: String,
    /// 1..n within the domain; the highest seals, all open.
    pub generation: i64,
    /// The wrapped key.
    pub wrapped: Vec<u8>,
    /// The token label of the key that wrapped it.
    pub kek: String,
    /// How many sealings the nodes have reserved of it so far.
    pub reserved: i64,
    /// Unix seconds.
    pub created_at: i64,
}

/// No relations are followed.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
