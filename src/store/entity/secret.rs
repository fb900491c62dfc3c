//! A secret: a name within a vault, and which of its versions is current.

use sea_orm::entity::prelude::*;

/// A row of `secret`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "secret")]
pub struct Model {
    /// 32 hexadecimal digits.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// Its vault.
    pub vault: String,
    /// Its name, unique within the vault.
    pub name: String,
    /// The ordinal of its newest version.
    pub latest: i64,
    /// The ordinal of its current version; the newest one if it is null.
    pub current: Option<i64>,
    /// The ordinal of the version that was current before.
    pub previous: Option<i64>,
    /// A JSON object: ordinals by the labels that its writers made.
    pub labels: Option<String>,
    /// Grows with every change of it or of one of its versions.
    pub revision: i64,
    /// Unix seconds.
    pub created_at: i64,
    /// Unix seconds.
    pub updated_at: i64,
    /// Unix seconds; set while it is deleted and can be recovered.
    pub deleted_at: Option<i64>,
    /// Unix seconds; when a deleted secret can no longer be recovered.
    pub purge_at: Option<i64>,
}

/// No relations are followed.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
