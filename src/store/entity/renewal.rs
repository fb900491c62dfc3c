//! Renewals: one row per run of the state machine.

use sea_orm::entity::prelude::*;

/// One renewal, or a first order.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "renewal")]
pub struct Model {
    /// 32 hexadecimal digits that sort by time.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// The certificate object.
    pub certificate_id: String,
    /// The certificate's vault.
    pub vault: String,
    /// The certificate's name.
    pub name: String,
    /// The upstream issuer.
    pub issuer: String,
    /// The state that is reached.
    pub state: String,
    /// Why it is due when it is.
    pub basis: String,
    /// Unix seconds; the pick, drawn once.
    pub due_at: i64,
    /// Unix seconds: when there is something to do; none if there never will be.
    pub next_at: Option<i64>,
    /// Unix seconds: when to ask the issuer for its suggestion again.
    pub ari_at: Option<i64>,
    /// Unix seconds: the suggestion that the pick was drawn from.
    pub window_start: Option<i64>,
    /// Unix seconds.
    pub window_end: Option<i64>,
    /// The one node that can go on, if only one can.
    pub node: Option<String>,
    /// The node that is at work.
    pub lease_node: Option<String>,
    /// Unix seconds; after this another node may go on.
    pub lease_until: i64,
    /// Failures in a row.
    pub failures: i32,
    /// Those among them that trying again does not help against.
    pub refusals: i32,
    /// What went wrong last.
    #[sea_orm(column_type = "Text", nullable)]
    pub last_error: Option<String>,
    /// It is not tried again by itself.
    pub stopped: bool,
    /// The version that it makes.
    pub version_id: Option<String>,
    /// That version's private key, PKCS#8, sealed.
    pub key_sealed: Option<Vec<u8>>,
    /// The signing request, DER.
    pub csr: Option<Vec<u8>>,
    /// Where the order is resumed.
    #[sea_orm(column_type = "Text", nullable)]
    pub order_url: Option<String>,
    /// The new certificate's serial.
    pub serial: Option<String>,
    /// Unix seconds.
    pub created_at: i64,
    /// Unix seconds.
    pub updated_at: i64,
}

/// No relations: rooms join by name.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
