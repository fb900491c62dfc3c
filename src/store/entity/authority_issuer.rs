//! An issuer of an authority of ours: a CA certificate and the label of its key in the token.

use sea_orm::entity::prelude::*;

/// A row of `authority_issuer`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "authority_issuer")]
pub struct Model {
    /// The label of its key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub label: String,
    /// The authority it belongs to.
    pub authority: String,
    /// `root` or `issuing`.
    pub role: String,
    /// The serial of its certificate.
    pub serial: String,
    /// Its certificate, DER; empty before it is made.
    pub certificate: Vec<u8>,
    /// The certificates above it, PEM, the root left out.
    pub chain: String,
    /// The kind of its key; empty for the one that is declared.
    pub key_type: String,
    /// Which of its authority's issuers of this role it is, from 1 on.
    pub number: i64,
    /// What stands at the top: `token`, `offline` or `foreign`.
    pub origin: String,
    /// The label of the issuer that signed its certificate; empty for the first ones of an installation, and for roots.
    pub parent: String,
    /// How far it came.
    pub stage: String,
    /// Since when, unix seconds; 0 for those that are older than their stages.
    pub stage_at: i64,
    /// The end of its certificate, unix seconds.
    pub not_after: i64,
    /// How many revocations there were; a CRL says up to which it reaches.
    pub revision: i64,
    /// The highest CRL number that was given out.
    pub crl_number: i64,
    /// Unix seconds.
    pub created_at: i64,
}

/// No relations are followed.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
