//! A vault: a namespace of objects, with its own data-encryption key.

use sea_orm::entity::prelude::*;

/// A row of `vault`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "vault")]
pub struct Model {
    /// Its name, a DNS label.
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    /// Unix seconds.
    pub created_at: i64,
    /// Who created it.
    pub created_by: String,
    /// A JSON object of text.
    pub tags: Option<String>,
    /// For how many days what is deleted can be recovered; 90 if it is null.
    pub retention_days: Option<i64>,
    /// Whether nobody may remove before that what is deleted.
    pub purge_protection: bool,
    /// Grows with every change of it.
    pub revision: i64,
    /// Unix seconds; set while it is deleted and can be recovered.
    pub deleted_at: Option<i64>,
    /// Unix seconds; when a deleted vault can no longer be recovered.
    pub purge_at: Option<i64>,
}

/// No relations are followed.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
