//! The register of keys in the token.

use sea_orm::entity::prelude::*;

/// One key that the service made, or is about to make, in the token.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "token_key")]
pub struct Model {
    /// Its label in the token.
    #[sea_orm(primary_key, auto_increment = false)]
    pub label: String,
    /// The name of its key type.
    pub key_type: String,
    /// False while it is only planned.
    pub made: bool,
    /// `SubjectPublicKeyInfo`, of key pairs that are made.
    pub spki: Option<Vec<u8>>,
    /// Nonce and ciphertext of a fixed text, of AES keys that are made.
    pub check_value: Option<Vec<u8>>,
    /// The node that planned it.
    pub made_by: Option<String>,
    /// Unix seconds.
    pub created_at: i64,
}

/// No relations: rooms join by name.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
