//! How long a deleted secret can be recovered. Pure.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::error::Error;
use crate::id::{Label, ObjectName};

/// How long a deleted secret can be recovered; its name is taken as long.
pub const RETENTION: Duration = Duration::from_secs(90 * 86_400);

/// A secret that was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// Its name in the vault.
    pub name: ObjectName,
    /// When it was deleted.
    pub deleted: Timestamp,
    /// When it can no longer be recovered, and its name is free again.
    pub recoverable_until: Timestamp,
}

impl Deleted {
    /// Deleted at `now`.
    pub(super) fn at(name: ObjectName, now: Timestamp) -> Self {
        Self {
            name,
            deleted: now,
            recoverable_until: now + RETENTION,
        }
    }

    /// Whether it is still kept.
    pub(super) fn is_kept(&self, now: Timestamp) -> bool {
        now < self.recoverable_until
    }

    /// Why it cannot be read, described or deleted.
    pub(super) fn not_found(&self, vault: &Label, now: Timestamp) -> Error {
        match self.is_kept(now) {
            true => Error::not_found(format!(
                "secret `{}` of vault `{vault}` was deleted: recover it before {}",
                self.name, self.recoverable_until
            )),
            false => absent(vault, &self.name),
        }
    }

    /// Why it cannot be set.
    pub(super) fn conflict(&self, vault: &Label) -> Error {
        Error::conflict(format!(
            "secret `{}` of vault `{vault}` was deleted and keeps its name until {}: recover it, or choose another name",
            self.name, self.recoverable_until
        ))
    }
}

/// There is no such secret.
pub(super) fn absent(vault: &Label, name: &ObjectName) -> Error {
    Error::not_found(format!(
        "vault `{vault}` has no secret `{name}`: set it first, or list the vault's secrets for the right name"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn a_deleted_secret_is_kept_for_exactly_the_retention() {
        let now = Timestamp::from_unix(1_000);
        let deleted = Deleted::at("a".parse().unwrap(), now);
        let last = now + RETENTION - Duration::from_secs(1);
        assert!(deleted.is_kept(last));
        assert!(!deleted.is_kept(now + RETENTION));
        let vault = "kv".parse().unwrap();
        assert!(deleted.not_found(&vault, last).public().contains("recover it before"));
        assert!(!deleted.not_found(&vault, now + RETENTION).public().contains("recover"));
        assert_eq!(deleted.conflict(&vault).kind(), Kind::Conflict);
    }
}
