//! Every audit log that ever was, so that none vanishes unnoticed.

use sea_orm::entity::prelude::*;

/// One node's log.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_log")]
pub struct Model {
    /// The node.
    #[sea_orm(primary_key, auto_increment = false)]
    pub node: String,
    /// The log's name in checkpoints.
    pub origin: String,
    /// Its public key, as a C2SP vkey.
    pub vkey: String,
    /// The records that the newest checkpoint covers.
    pub size: i64,
    /// The newest checkpoint, a signed note.
    #[sea_orm(column_type = "Text", nullable)]
    pub checkpoint: Option<String>,
    /// How often the log was opened for writing; the process that opened it last may write.
    pub epoch: i64,
    /// Every outbox row up to this sequence number was in the log when the newest checkpoint was kept; others stand
    /// behind what it covers.
    pub outbox_seq: i64,
    /// The hashes from which the tree of the newest checkpoint grows on.
    pub frontier: Option<Vec<u8>>,
}

/// No relations: rooms join by name.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
