//! How a secret is rotated, and how far its rotation has come.

use sea_orm::entity::prelude::*;

/// A row of `secret_rotation`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "secret_rotation")]
pub struct Model {
    /// The secret's id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub secret_id: String,
    /// The rotator's name in the configuration.
    pub rotator: String,
    /// Seconds between two rotations; this or `cron`.
    pub every_s: Option<i64>,
    /// When, as crontab(5) writes it.
    #[sea_orm(column_type = "Text", nullable)]
    pub cron: Option<String>,
    /// Seconds after its time in which it begins.
    pub window_s: Option<i64>,
    /// How values are made, JSON.
    #[sea_orm(column_type = "Text")]
    pub generate: String,
    /// The step that is taken next; null while nothing is under way.
    pub step: Option<String>,
    /// The version that is to become current.
    pub version_id: Option<String>,
    /// The ordinal of the version that the rotator was told to replace.
    pub old_ordinal: Option<i64>,
    /// Unix seconds: when the next rotation begins, by its schedule.
    pub due_at: Option<i64>,
    /// Unix seconds: when there is something to do; null while it is paused.
    pub next_at: Option<i64>,
    /// Failures in a row.
    pub failures: i32,
    /// It goes on only when somebody says so.
    pub paused: bool,
    /// What went wrong last.
    #[sea_orm(column_type = "Text", nullable)]
    pub last_error: Option<String>,
    /// Unix seconds: when the last rotation was finished.
    pub rotated_at: Option<i64>,
    /// The node that is at work.
    pub lease_node: Option<String>,
    /// Unix seconds; after this another node may go on.
    pub lease_until: i64,
    /// Unix seconds.
    pub created_at: i64,
    /// Who set it.
    pub created_by: String,
    /// Unix seconds.
    pub updated_at: i64,
}

/// No relations are followed.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
