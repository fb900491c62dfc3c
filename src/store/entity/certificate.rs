//! Certificate objects.

use sea_orm::entity::prelude::*;

/// Names that are kept certified by an upstream issuer.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "certificate")]
pub struct Model {
    /// 32 hexadecimal digits.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// Its vault.
    pub vault: String,
    /// Its name in the vault.
    pub name: String,
    /// The upstream issuer.
    pub issuer: String,
    /// What was asked for, JSON.
    #[sea_orm(column_type = "Text")]
    pub spec: String,
    /// The id of the version that is current.
    pub current_version: Option<String>,
    /// How many renewals in a row the issuer asked for out of turn.
    pub hurried: i32,
    /// Unix seconds.
    pub created_at: i64,
    /// The folder that it is delivered to, links followed; no other has it.
    pub delivers_to: Option<String>,
}

/// No relations: rooms join by name.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
