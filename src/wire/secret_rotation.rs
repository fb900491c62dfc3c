//! How secrets are rotated.

use serde::{Deserialize, Serialize};

use super::rfc3339;
use super::secret::Generate;
use crate::clock::Timestamp;
use crate::id::{Label, ObjectName};

/// Says how a secret is rotated: by `every_s` or by `cron`, one of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetRotation {
    /// The rotator, as the service's configuration calls it.
    pub rotator: Label,
    /// Seconds from one rotation to the next: an hour to ten years.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_s: Option<u64>,
    /// When, as crontab(5) writes it, in UTC: `0 3 * * sun`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// Seconds from its time on, in which a rotation begins at a moment drawn by chance; at once if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_s: Option<u64>,
    /// How new values are made; a password if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generate: Option<Generate>,
}

/// How a secret is rotated, and how far its rotation has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRotation {
    /// The secret's name.
    pub name: ObjectName,
    /// The rotator.
    pub rotator: Label,
    /// Seconds from one rotation to the next, if it is by interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_s: Option<u64>,
    /// When, as crontab(5) writes it, if it is by that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// As in [`SetRotation`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_s: Option<u64>,
    /// How new values are made.
    pub generate: Generate,
    /// `scheduled`, `rotating`, `retrying` (a step failed and is tried again) or `paused` (it goes on when it is asked
    /// to).
    pub state: String,
    /// The step that is taken next, while a rotation is under way: `pending`, `set`, `test` or `finish`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The id of the version that is to become current.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// When the next rotation, step or try is; none while it is paused.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
    /// When the last rotation was finished.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub rotated: Option<Timestamp>,
    /// How often the step has failed in a row.
    pub failures: u32,
    /// What went wrong the last time, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When the policy was first set.
    #[serde(with = "rfc3339")]
    pub created: Timestamp,
    /// Who set it then.
    pub created_by: String,
    /// When the policy or the state last changed.
    #[serde(with = "rfc3339")]
    pub updated: Timestamp,
}
