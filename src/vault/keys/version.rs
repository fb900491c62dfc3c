//! One version of a key: what it is, what it may be used for, and when. Pure.

use super::kind::{KeyKind, KeyOp, KeyOps, KeyProtection};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::{Id, ObjectName};
use crate::vault::cache::Key;
use crate::vault::version::{Tags, VersionRef, check_times};

/// What can be changed of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Whether it may be used at all.
    pub enabled: bool,
    /// Before, it encrypts, wraps and signs nothing.
    pub not_before: Option<Timestamp>,
    /// From then on, it encrypts, wraps and signs nothing.
    pub expires: Option<Timestamp>,
    /// What it may be used for.
    pub ops: KeyOps,
    /// Notes beside it.
    pub tags: Tags,
}

impl Attributes {
    /// Checks that there is a time in which the key can be used.
    pub(super) fn checked(self) -> Result<Self> {
        check_times("key", self.not_before, self.expires)?;
        Ok(self)
    }
}

/// One version of a key, without its private half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyVersion {
    /// Its id; sorts by the time of its making.
    pub id: Id,
    /// Its place in the history, from 1.
    pub ordinal: u64,
    /// What sort of key it is.
    pub kind: KeyKind,
    /// Where its private half is kept and used.
    pub protection: KeyProtection,
    /// Whether its private half may be exported; said when it is made, and of its later versions the same.
    pub exportable: bool,
    /// What can be changed.
    pub attributes: Attributes,
    /// SubjectPublicKeyInfo (DER); a symmetric key has none.
    pub public: Option<Vec<u8>>,
    /// When it was made.
    pub created: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// When it last changed.
    pub updated: Timestamp,
}

/// What is known about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDescribed {
    /// Its id, which its envelopes carry.
    pub id: Id,
    /// Its name in the vault.
    pub name: ObjectName,
    /// Grows with every change of it.
    pub revision: u64,
    /// The ordinal of its current version.
    pub latest: u64,
    /// The version that was asked for.
    pub version: KeyVersion,
}

/// By which version something was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// Its id.
    pub version: Id,
    /// Its place in the history.
    pub ordinal: u64,
}

impl KeyVersion {
    pub(super) fn made(&self) -> Made {
        Made {
            version: self.id,
            ordinal: self.ordinal,
        }
    }

    /// Whether `wanted` means this version, which is the current one.
    pub(super) fn is_current_met_by(&self, wanted: VersionRef) -> bool {
        wanted.is_met_by(self.id, self.ordinal)
    }

    /// Whether `wanted` names this version.
    pub(super) fn is(&self, wanted: VersionRef) -> bool {
        wanted != VersionRef::Current && wanted.is_met_by(self.id, self.ordinal)
    }

    /// Checks that it is enabled.
    ///
    /// # Errors
    /// `Conflict`, if it is not.
    pub(super) fn check_enabled(&self, key: &Key) -> Result<()> {
        if self.attributes.enabled {
            return Ok(());
        }
        Err(Error::conflict(format!(
            "version {} of key `{}` of vault `{}` is disabled: enable it, or use another",
            self.ordinal, key.name, key.vault
        )))
    }

    /// Checks that it may be used so at `now`.
    ///
    /// # Errors
    /// `Conflict`, saying what stands against it.
    pub(super) fn check(&self, key: &Key, op: KeyOp, now: Timestamp) -> Result<()> {
        let refuse = |why: String| {
            Err(Error::conflict(format!(
                "version {} of key `{}` of vault `{}` {why}",
                self.ordinal, key.name, key.vault
            )))
        };
        self.check_enabled(key)?;
        let Attributes {
            not_before,
            expires,
            ops,
            ..
        } = &self.attributes;
        if !ops.contains(op) {
            return refuse(format!("may not be used for `{op}`: its uses are {ops}"));
        }
        match (not_before, expires) {
            (Some(begins), _) if op.makes() && now < *begins => refuse(format!(
                "may not be used for `{op}` before {begins}: wait, or use another"
            )),
            (_, Some(ends)) if op.makes() && now >= *ends => {
                refuse(format!("expired at {ends}: rotate the key, or use another"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(enabled: bool, not_before: Option<i64>, expires: Option<i64>, ops: &[KeyOp]) -> KeyVersion {
        KeyVersion {
            id: Id::from([1; 16]),
            ordinal: 2,
            kind: KeyKind::Rsa2048,
            protection: KeyProtection::Software,
            exportable: false,
            attributes: Attributes {
                enabled,
                not_before: not_before.map(Timestamp::from_unix),
                expires: expires.map(Timestamp::from_unix),
                ops: KeyOps::new(KeyKind::Rsa2048, ops.iter().copied()).unwrap(),
                tags: Tags::default(),
            },
            public: None,
            created: Timestamp::from_unix(0),
            created_by: String::new(),
            updated: Timestamp::from_unix(0),
        }
    }

    #[test]
    fn outside_its_time_a_key_makes_nothing_but_opens_what_it_made() {
        let key = Key {
            vault: "kv".parse().unwrap(),
            name: "a".parse().unwrap(),
        };
        let all: Vec<_> = KeyOps::all(KeyKind::Rsa2048).iter().collect();
        let bounded = version(true, Some(100), Some(200), &all);
        for (now, makes) in [(99, false), (100, true), (199, true), (200, false)] {
            for op in &all {
                let checked = bounded.check(&key, *op, Timestamp::from_unix(now));
                assert_eq!(checked.is_ok(), makes || !op.makes(), "{op} at {now}");
            }
        }
        let disabled = version(false, None, None, &all);
        for op in &all {
            let error = disabled.check(&key, *op, Timestamp::from_unix(0)).unwrap_err();
            assert!(
                error
                    .public()
                    .contains("version 2 of key `a` of vault `kv` is disabled"),
                "{error}"
            );
        }
        let signs = version(true, None, None, &[KeyOp::Sign]);
        assert!(signs.check(&key, KeyOp::Sign, Timestamp::from_unix(0)).is_ok());
        let error = signs.check(&key, KeyOp::Verify, Timestamp::from_unix(0)).unwrap_err();
        assert!(error.public().contains("its uses are sign"), "{error}");

        assert!(version(true, Some(5), Some(5), &all).attributes.checked().is_err());
    }
}
