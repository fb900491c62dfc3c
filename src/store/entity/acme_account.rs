//! An account of an authority's ACME server.

use sea_orm::entity::prelude::*;

/// One account.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "acme_account")]
pub struct Model {
    /// 32 hexadecimal digits.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// The authority that it is known at.
    pub authority: String,
    /// `valid` or `deactivated`.
    pub status: String,
    /// The key's thumbprint, base64url (RFC 7638); one account per authority and key.
    pub thumbprint: String,
    /// The public key, canonical JSON.
    pub jwk: String,
    /// SHA-256 of the key's DER, hexadecimal.
    pub spki_sha256: String,
    /// A JSON array of URLs.
    pub contact: String,
    /// Unix seconds; none if no terms were agreed to.
    pub terms_agreed_at: Option<i64>,
    /// Unix seconds.
    pub created_at: i64,
    /// The external account's key that it was made with.
    pub external_key: Option<String>,
    /// Whose it is, by that key: a SPIFFE ID.
    pub identity: Option<String>,
    /// The binding to that key, as the client sent it: JSON.
    pub binding: Option<String>,
    /// Which names it may ask for: JSON, what is allowed and what is denied.
    pub rules: Option<String>,
    /// Whether it need show nothing for those.
    pub trusted: bool,
    /// Where the terms were that it agreed to.
    pub terms: Option<String>,
    /// What role it has; without one it does what any account may.
    pub role: Option<String>,
}

/// No relations: rooms join by name.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
