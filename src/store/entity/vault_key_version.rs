//! One version of a key, its private material sealed.

use sea_orm::entity::prelude::*;

/// A row of `vault_key_version`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "vault_key_version")]
pub struct Model {
    /// 32 hexadecimal digits; sorts by the time of its making.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// The key it belongs to.
    pub key_id: String,
    /// 1..n within the key.
    pub ordinal: i64,
    /// What sort of key it is, for example `ec-p256`.
    pub kind: String,
    /// Where its private half is kept and used: `software` or `hsm`.
    pub protection: String,
    /// Whether its private half may be exported.
    pub exportable: bool,
    /// Whether it may be used at all.
    pub enabled: bool,
    /// Unix seconds; before, it makes nothing new.
    pub not_before: Option<i64>,
    /// Unix seconds; from then on it makes nothing new.
    pub expires: Option<i64>,
    /// What it may be used for, by name, with blanks between.
    pub ops: String,
    /// A JSON object of text.
    pub tags: String,
    /// The sealed material: PKCS#8 (DER) or raw bytes; of a key in the token, it as the token wrapped it. Opens only as this version of this key of this vault.
    pub sealed: Vec<u8>,
    /// The public half, SubjectPublicKeyInfo (DER); a symmetric key has none.
    pub public: Option<Vec<u8>>,
    /// Unix seconds.
    pub created_at: i64,
    /// Who made it.
    pub created_by: String,
    /// Unix seconds.
    pub updated_at: i64,
}

/// No relations are followed.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
