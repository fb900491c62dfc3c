//! The newest revocation list of an issuer's shard.

use sea_orm::entity::prelude::*;

/// A row of `crl`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "crl")]
pub struct Model {
    /// The label of the issuer's key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub issuer: String,
    /// The shard, as it stands in certificates.
    #[sea_orm(primary_key, auto_increment = false)]
    pub shard: i64,
    /// RFC 5280 §5.2.3.
    pub number: i64,
    /// Up to which of the issuer's revisions it reaches.
    pub revision: i64,
    /// DER.
    pub list: Vec<u8>,
    /// Unix seconds.
    pub this_update: i64,
    /// Unix seconds.
    pub next_update: i64,
}

/// No relations are followed.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
