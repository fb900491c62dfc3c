//! An order of an ACME account.

use sea_orm::entity::prelude::*;

/// One order.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "acme_order")]
pub struct Model {
    /// 32 hexadecimal digits; sorts by the time of its making.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// The account that placed it.
    pub account: String,
    /// `pending` (which stands for ready too), `processing`, `valid` or `invalid`.
    pub status: String,
    /// The profile of its certificate.
    pub profile: String,
    /// The version of the profile that it began with.
    pub profile_hash: Option<String>,
    /// A JSON array of its identifiers, `dns:…` and `ip:…`, as the certificate has them.
    pub identifiers: String,
    /// A JSON array of the ids of its authorizations.
    pub authorizations: String,
    /// Unix seconds.
    pub created_at: i64,
    /// Unix seconds.
    pub expires_at: i64,
    /// A problem, JSON; why it is invalid.
    pub error: Option<String>,
    /// The key to certify, DER in hexadecimal; none before it is finalized.
    pub spki: Option<String>,
    /// The certificate, or the serial that is reserved for it.
    pub serial: Option<String>,
    /// The node that has the certificate made.
    pub holder: Option<String>,
    /// Unix seconds; from then on another node may go on with it.
    pub leased_until: Option<i64>,
    /// The certificate that it replaces, as the client named it (RFC 9773 §5).
    pub replaces: Option<String>,
    /// The serial of that certificate; only the order that replaces it has it, until it fails and another one does.
    pub replacing: Option<String>,
    /// Unix seconds; when nothing depends on it any more: it ran out, or its certificate has ended.
    pub ends_at: Option<i64>,
}

/// No relations: rooms join by name.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
