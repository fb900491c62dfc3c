//! Upstream issuers.

use sea_orm::entity::prelude::*;

/// One certificate authority that is not ours, and our account with it.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "issuer")]
pub struct Model {
    /// Its name with us.
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    /// `acme`.
    pub kind: String,
    /// The ACME directory's URL.
    #[sea_orm(column_type = "Text")]
    pub directory: String,
    /// Roots for the directory's own TLS; the system's if there are none.
    #[sea_orm(column_type = "Text", nullable)]
    pub ca_pem: Option<String>,
    /// The account's URL, once it is registered.
    pub account_url: Option<String>,
    /// The account's private key, PKCS#8, sealed.
    pub account_key: Vec<u8>,
    /// A JSON list of URIs.
    #[sea_orm(column_type = "Text")]
    pub contacts: String,
    /// Unix seconds.
    pub created_at: i64,
}

/// No relations: rooms join by name.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
