//! Deleted objects: how long they can be recovered, and what holds of their names meanwhile.
//!
//! Secrets and keys are deleted, recovered and removed alike; their tables have the same columns for it, and [`repo`] has
//! the statements. A kind that is to be kept so gets a row in [`Kept`].

pub(super) mod repo;

use std::fmt::Display;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::{Label, ObjectName};
use crate::store::{Topic, Tx};

use super::cache::Key;
use super::vaults::require_in;
use repo::Fate;

/// For how many days what is deleted can be recovered, unless its vault says otherwise; its name is taken as long.
pub const RETENTION_DAYS: u32 = 90;

/// A kind of object that is kept for a while after it was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// Keys.
    Key,
    /// Secrets.
    Secret,
}

impl Kept {
    pub(super) const ALL: [Self; 2] = [Self::Key, Self::Secret];

    const fn noun(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Secret => "secret",
        }
    }

    /// What an audit record calls several of them.
    pub(super) const fn nouns(self) -> &'static str {
        match self {
            Self::Key => "keys",
            Self::Secret => "secrets",
        }
    }

    /// How one comes to be.
    const fn made(self) -> &'static str {
        match self {
            Self::Key => "create",
            Self::Secret => "set",
        }
    }

    pub(super) const fn topic(self) -> Topic {
        match self {
            Self::Key => Topic::Keys,
            Self::Secret => Topic::Secrets,
        }
    }
}

/// For how long something that was deleted is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Until {
    /// When it was deleted.
    pub deleted: Timestamp,
    /// When it can no longer be recovered, and its name is free again.
    pub recoverable_until: Timestamp,
}

impl Until {
    /// Deleted at `now` and kept for so many days.
    pub(super) fn after(now: Timestamp, days: u32) -> Self {
        Self {
            deleted: now,
            recoverable_until: now + Duration::from_secs(u64::from(days) * 86_400),
        }
    }

    /// Whether it is still kept.
    pub(super) fn is_kept(&self, now: Timestamp) -> bool {
        now < self.recoverable_until
    }
}

/// An object that was deleted.
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
    /// Kept so long.
    pub(super) fn kept(name: ObjectName, until: Until) -> Self {
        Self {
            name,
            deleted: until.deleted,
            recoverable_until: until.recoverable_until,
        }
    }

    /// Whether it is still kept.
    pub(super) fn is_kept(&self, now: Timestamp) -> bool {
        now < self.recoverable_until
    }

    /// Why it cannot be read, described or deleted.
    pub(super) fn not_found(&self, kept: Kept, vault: &Label, now: Timestamp) -> Error {
        match self.is_kept(now) {
            true => Error::not_found(format!(
                "{} `{}` of vault `{vault}` was deleted: recover it before {}",
                kept.noun(),
                self.name,
                self.recoverable_until
            )),
            false => absent(kept, vault, &self.name),
        }
    }

    /// Why its name cannot be taken.
    pub(super) fn conflict(&self, kept: Kept, vault: &Label) -> Error {
        Error::conflict(format!(
            "{} `{}` of vault `{vault}` was deleted and keeps its name until {}: recover it, or choose another name",
            kept.noun(),
            self.name,
            self.recoverable_until
        ))
    }
}

/// There is no such object.
pub(super) fn absent(kept: Kept, vault: &Label, name: &ObjectName) -> Error {
    Error::not_found(format!(
        "vault `{vault}` has no {noun} `{name}`: {} it first, or list the vault's {} for the right name",
        kept.made(),
        kept.nouns(),
        noun = kept.noun(),
    ))
}

/// The object has no such version.
pub(super) fn no_version(kept: Kept, key: &Key, wanted: impl Display) -> Error {
    Error::not_found(format!(
        "{} `{}` of vault `{}` has no version `{wanted}`: list its versions",
        kept.noun(),
        key.name,
        key.vault
    ))
}

/// The object is not at the revision that is expected.
pub(super) fn stale(kept: Kept, key: &Key, revision: u64) -> Error {
    Error::conflict(format!(
        "{} `{}` of vault `{}` is at revision {revision}, which is not what you expect: read it and decide again",
        kept.noun(),
        key.name,
        key.vault
    ))
}

/// Deletes a live object within a change.
///
/// # Errors
/// `NotFound` if there is none.
pub(super) async fn delete(tx: &Tx, kept: Kept, key: &Key, now: Timestamp) -> Result<Deleted> {
    let vault = require_in(tx, &key.vault, now).await?;
    let deleted = Deleted::kept(key.name.clone(), Until::after(now, vault.retention_days));
    if !repo::mark_deleted(tx, kept, &key.vault, &deleted).await? {
        return Err(match repo::fate(tx.conn(), kept, key).await? {
            Fate::Deleted(before) => before.not_found(kept, &key.vault, now),
            Fate::Live | Fate::Nothing => absent(kept, &key.vault, &key.name),
        });
    }
    tx.note("recoverable_until", deleted.recoverable_until.to_string());
    tx.touch(kept.topic());
    Ok(deleted)
}

/// Brings a deleted object back within a change.
///
/// # Errors
/// `Conflict` if it is not deleted, `NotFound` if there is none that is still kept.
pub(super) async fn recover(tx: &Tx, kept: Kept, key: &Key, now: Timestamp) -> Result<()> {
    require_in(tx, &key.vault, now).await?;
    if repo::unmark_deleted(tx, kept, key, now).await? {
        tx.touch(kept.topic());
        return Ok(());
    }
    Err(match repo::fate(tx.conn(), kept, key).await? {
        Fate::Live => Error::conflict(format!(
            "{} `{}` of vault `{}` is not deleted: there is nothing to recover",
            kept.noun(),
            key.name,
            key.vault
        )),
        Fate::Deleted(_) | Fate::Nothing => absent(kept, &key.vault, &key.name),
    })
}

/// Removes a deleted object for good within a change, before its retention ends.
///
/// # Errors
/// `Conflict` if it is not deleted, or is kept by its vault's purge protection; `NotFound` if there is none.
pub(super) async fn purge(tx: &Tx, kept: Kept, key: &Key, now: Timestamp) -> Result<()> {
    let vault = require_in(tx, &key.vault, now).await?;
    let Key { vault: of, name } = key;
    match repo::fate(tx.conn(), kept, key).await? {
        Fate::Deleted(deleted) if vault.purge_protection && deleted.is_kept(now) => Err(Error::conflict(format!(
            "vault `{of}` has purge protection: {} `{name}` is kept until {}, whoever asks",
            kept.noun(),
            deleted.recoverable_until
        ))),
        Fate::Deleted(deleted) => repo::purge(tx, kept, key, now.max(deleted.recoverable_until)).await,
        Fate::Live => Err(Error::conflict(format!(
            "{} `{name}` of vault `{of}` is not deleted: delete it first",
            kept.noun()
        ))),
        Fate::Nothing => Err(absent(kept, of, name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn a_deleted_object_is_kept_for_exactly_the_retention() {
        let now = Timestamp::from_unix(1_000);
        let deleted = Deleted::kept("a".parse().unwrap(), Until::after(now, 7));
        let ends = now + Duration::from_secs(7 * 86_400);
        let last = ends - Duration::from_secs(1);
        assert!(deleted.is_kept(last));
        assert!(!deleted.is_kept(ends));
        let vault = "kv".parse().unwrap();
        assert!(
            deleted
                .not_found(Kept::Secret, &vault, last)
                .public()
                .contains("recover it before")
        );
        assert!(
            !deleted
                .not_found(Kept::Secret, &vault, ends)
                .public()
                .contains("recover")
        );
        assert_eq!(deleted.conflict(Kept::Key, &vault).kind(), Kind::Conflict);
    }
}
