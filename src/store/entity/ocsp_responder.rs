//! The certificate by which an issuer's OCSP responder signs.

use sea_orm::entity::prelude::*;

/// A row of `ocsp_responder`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "ocsp_responder")]
pub struct Model {
    /// The label of the issuer's key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub issuer: String,
    /// The label of the responder's own key.
    pub key_label: String,
    /// DER.
    pub certificate: Vec<u8>,
    /// The end of it, unix seconds.
    pub not_after: i64,
}

/// No relations are followed.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
