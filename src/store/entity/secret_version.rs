//! One version of a secret, sealed.

use sea_orm::entity::prelude::*;

/// A row of `secret_version`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "secret_version")]
pub struct Model {
    /// 32 hexadecimal digits; sorts by the time of its making.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// The secret it belongs to.
    pub secret_id: String,
    /// 1..n within the secret.
    pub ordinal: i64,
    /// What its writer says the value is, for example `text/plain`.
    pub content_type: Option<String>,
    /// A JSON object of text.
    pub tags: String,
    /// Whether its value may be read.
    pub enabled: bool,
    /// Unix seconds; before, it should not be used.
    pub not_before: Option<i64>,
    /// Unix seconds; from then on it should not be used.
    pub expires: Option<i64>,
    /// The sealed value; opens only as this version of this secret of this vault. Empty once it is destroyed.
    pub sealed: Vec<u8>,
    /// Unix seconds.
    pub created_at: i64,
    /// Who set it.
    pub created_by: String,
    /// Unix seconds; when it last changed, if it did.
    pub updated_at: Option<i64>,
    /// Unix seconds; when its value is to be destroyed.
    pub destroy_at: Option<i64>,
    /// Unix seconds; when its value was destroyed.
    pub destroyed_at: Option<i64>,
    /// By what its writer tells the set from others.
    pub request_key: Option<String>,
}

/// No relations are followed.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
