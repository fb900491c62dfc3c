//! A certificate that an authority of ours issued, or reserved a serial for and may have signed.

use sea_orm::entity::prelude::*;

/// A row of `issued`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "issued")]
pub struct Model {
    /// Lower-case hexadecimal.
    #[sea_orm(primary_key, auto_increment = false)]
    pub serial: String,
    /// 32 hexadecimal digits; sorts by the time of its making.
    pub id: String,
    /// The label of its issuer's key.
    pub issuer: String,
    /// The profile's name.
    pub profile: String,
    /// SHA-256 of the profile's file, hexadecimal.
    pub profile_hash: String,
    /// What was to be signed, DER.
    pub tbs: Vec<u8>,
    /// The certificate, DER; none from the reservation until it is stored.
    pub certificate: Option<Vec<u8>>,
    /// SHA-256 of the subject's key, hexadecimal.
    pub spki_sha256: String,
    /// RFC 4514; may be empty.
    pub subject: String,
    /// A JSON array of `dns:…`, `ip:…`, `uri:…`.
    pub names: String,
    /// Who asked.
    pub requested_by: String,
    /// Unix seconds.
    pub not_before: i64,
    /// Unix seconds.
    pub not_after: i64,
    /// Unix seconds.
    pub created_at: i64,
    /// Unix seconds; none if it is not revoked.
    pub revoked_at: Option<i64>,
    /// RFC 5280 §5.3.1; none if it is not revoked.
    pub reason: Option<i64>,
    /// The shard of the revocation list that the certificate names.
    pub shard: i64,
    /// Its place in the order of its issuer's revocations; none if it is not revoked.
    pub revision: Option<i64>,
}

/// No relations are followed.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
