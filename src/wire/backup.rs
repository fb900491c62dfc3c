//! Backups of single objects.

use serde::{Deserialize, Serialize};

use super::base64::Base64;
use crate::id::ObjectName;

/// The longest backup of an object, in bytes before any encoding.
pub const BACKUP_MAX_BYTES: usize = 9 * 1024 * 1024;

/// A secret or a key with all its versions, sealed: only a service with the same token opens it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// The object's name.
    pub name: ObjectName,
    /// It, to be kept as it is.
    pub value: Base64,
}

/// Makes an object again from its backup, under its own name, which must be free.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restore {
    /// What [`Backup::value`] was.
    pub value: Base64,
}
