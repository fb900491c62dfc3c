//! What was issued for a certificate object.

use sea_orm::entity::prelude::*;

/// One issued certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "certificate_version")]
pub struct Model {
    /// 32 hexadecimal digits.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// The certificate object.
    pub certificate_id: String,
    /// Place in the history, from 1.
    pub ordinal: i64,
    /// The issuer that signed it.
    pub issuer: String,
    /// Lower-case hexadecimal.
    pub serial: String,
    /// Unix seconds.
    pub not_before: i64,
    /// Unix seconds.
    pub not_after: i64,
    /// SHA-256 of the leaf's DER, lower-case hexadecimal.
    pub fingerprint: String,
    /// PEM, leaf first.
    #[sea_orm(column_type = "Text")]
    pub chain: String,
    /// The private key, PKCS#8, sealed.
    pub key_sealed: Vec<u8>,
    /// Unix seconds.
    pub created_at: i64,
    /// Unix seconds.
    pub revoked_at: Option<i64>,
}

/// No relations: rooms join by name.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
