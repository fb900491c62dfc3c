//! One version of a secret: what can be changed of it, and whether its value may be read. Pure.

use std::str::FromStr;

use super::label::VersionLabel;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::{Id, ObjectName};
use crate::vault::cache::Key;
use crate::vault::version::{Tags, check_times};

/// What can be changed of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretAttributes {
    /// Whether its value may be read.
    pub enabled: bool,
    /// Before, it should not be used; nothing is refused for it.
    pub not_before: Option<Timestamp>,
    /// From then on, it should not be used; nothing is refused for it.
    pub expires: Option<Timestamp>,
    /// What its writer says the value is.
    pub content_type: Option<ContentType>,
    /// What its writer noted.
    pub tags: Tags,
}

impl Default for SecretAttributes {
    fn default() -> Self {
        Self {
            enabled: true,
            not_before: None,
            expires: None,
            content_type: None,
            tags: Tags::default(),
        }
    }
}

impl SecretAttributes {
    /// Checks that there is a time in which the secret should be used.
    pub(super) fn checked(self) -> Result<Self> {
        check_times("secret", self.not_before, self.expires)?;
        Ok(self)
    }

    /// Whether its time is over.
    pub(super) fn has_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|ends| now >= ends)
    }
}

/// One version of a secret, without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its id; sorts by the time of its making.
    pub id: Id,
    /// Its place in the history, from 1.
    pub ordinal: u64,
    /// What can be changed.
    pub attributes: SecretAttributes,
    /// The labels that point at it.
    pub labels: Vec<VersionLabel>,
    /// When it was set.
    pub created: Timestamp,
    /// Who set it.
    pub created_by: String,
    /// When its attributes last changed.
    pub updated: Timestamp,
    /// When its value is to be destroyed; until then that can be taken back.
    pub destroy: Option<Timestamp>,
    /// When its value was destroyed.
    pub destroyed: Option<Timestamp>,
}

/// What is known about a secret, without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its name in the vault.
    pub name: ObjectName,
    /// When its first version was set.
    pub created: Timestamp,
    /// When it last changed.
    pub updated: Timestamp,
    /// Grows with every change of it.
    pub revision: u64,
    /// The version that was asked for.
    pub version: Version,
}

impl Version {
    /// Whether a read without a version answers this one.
    pub fn is_current(&self) -> bool {
        self.labels.iter().any(VersionLabel::is_current)
    }

    /// Whether its value is gone for good.
    pub fn is_destroyed(&self, now: Timestamp) -> bool {
        self.destroyed.is_some() || self.destroy.is_some_and(|at| now >= at)
    }

    /// Checks that its value may be read at `now`.
    ///
    /// # Errors
    /// `NotFound` if it is destroyed or is to be, `Conflict` if it is disabled.
    pub(super) fn check_readable(&self, key: &Key, now: Timestamp) -> Result<()> {
        self.check_kept(key, now)?;
        let this = format!(
            "version {} of secret `{}` of vault `{}`",
            self.ordinal, key.name, key.vault
        );
        if let Some(at) = self.destroy {
            return Err(Error::not_found(format!(
                "{this} is to be destroyed at {at}: recover it before then, or read another"
            )));
        }
        if !self.attributes.enabled {
            return Err(Error::conflict(format!(
                "{this} is disabled: enable it, or read another"
            )));
        }
        Ok(())
    }

    /// Checks that its value is not destroyed.
    ///
    /// # Errors
    /// `NotFound`.
    pub(super) fn check_kept(&self, key: &Key, now: Timestamp) -> Result<()> {
        if !self.is_destroyed(now) {
            return Ok(());
        }
        Err(Error::not_found(format!(
            "version {} of secret `{}` of vault `{}` was destroyed for good: set a new value, or take another version",
            self.ordinal, key.name, key.vault
        )))
    }
}

/// What a value is, in its writer's words: 1 to 255 printable ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentType(String);

impl ContentType {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContentType {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        if (1..=255).contains(&text.len()) && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::invalid(format!(
            "`{}` is not a content type: use 1 to 255 printable ASCII characters",
            text.escape_debug()
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn version() -> Version {
        Version {
            id: Id::from([1; 16]),
            ordinal: 2,
            attributes: SecretAttributes::default(),
            labels: Vec::new(),
            created: Timestamp::from_unix(0),
            created_by: String::new(),
            updated: Timestamp::from_unix(0),
            destroy: None,
            destroyed: None,
        }
    }

    #[test]
    fn what_is_disabled_or_destroyed_is_not_read_and_what_has_expired_is() {
        let key = Key {
            vault: "kv".parse().unwrap(),
            name: "a".parse().unwrap(),
        };
        let at = |seconds| Some(Timestamp::from_unix(seconds));
        let read = |version: &Version, now| {
            version
                .check_readable(&key, Timestamp::from_unix(now))
                .map_err(|e| (e.kind(), e.public().to_owned()))
        };
        let mut bounded = version();
        bounded.attributes.not_before = at(100);
        bounded.attributes.expires = at(200);
        for now in [99, 100, 200] {
            assert_eq!(read(&bounded, now), Ok(()));
        }
        let mut disabled = version();
        disabled.attributes.enabled = false;
        let (kind, says) = read(&disabled, 0).unwrap_err();
        assert_eq!(kind, Kind::Conflict);
        assert!(
            says.contains("version 2 of secret `a` of vault `kv` is disabled"),
            "{says}"
        );

        let scheduled = Version {
            destroy: at(100),
            ..version()
        };
        assert!(read(&scheduled, 99).unwrap_err().1.contains("recover it before then"));
        assert!(read(&scheduled, 100).unwrap_err().1.contains("for good"));
        // Also when the clock was put back since.
        let destroyed = Version {
            destroyed: at(100),
            ..version()
        };
        assert!(read(&destroyed, 50).unwrap_err().1.contains("for good"));
    }

    #[test]
    fn a_content_type_is_bounded() {
        assert!("text/plain; charset=utf-8".parse::<ContentType>().is_ok());
        for bad in ["", "a\nb", "ä", &"x".repeat(256)] {
            assert!(bad.parse::<ContentType>().is_err(), "{bad:?}");
        }
    }
}
