//! A key by which ACME accounts are bound to an identity.

use sea_orm::entity::prelude::*;

/// One key.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "acme_external_key")]
pub struct Model {
    /// 32 hexadecimal digits; sorts by the time of its making.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// The authority that it is for.
    pub authority: String,
    /// Its value, sealed.
    pub sealed: Vec<u8>,
    /// Whose the accounts are that are made with it: a SPIFFE ID.
    pub identity: String,
    /// Which names they may ask for: JSON, `allow` and `deny`.
    pub rules: String,
    /// Whether they need show nothing for those.
    pub trusted: bool,
    /// Whether more than one account may be made with it.
    pub reusable: bool,
    /// Unix seconds.
    pub created_at: i64,
    /// Who made it.
    pub created_by: String,
    /// Unix seconds; from then on no account is made with it.
    pub expires_at: Option<i64>,
    /// How many accounts were made with it.
    pub used: i64,
    /// What role the accounts have that are made with it; without one they do what any account may.
    pub role: Option<String>,
}

/// No relations: rooms join by name.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
