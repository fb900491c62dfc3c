//! The version model: what a version is, how one is named, and what may be written beside a value. Pure.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::{Id, ObjectName};

/// One version of a secret, without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its id; sorts by the time of its making.
    pub id: Id,
    /// Its place in the history, from 1.
    pub ordinal: u64,
    /// What its writer says the value is.
    pub content_type: Option<ContentType>,
    /// What its writer noted.
    pub tags: Tags,
    /// When it was set.
    pub created: Timestamp,
    /// Who set it.
    pub created_by: String,
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
    /// Its current version.
    pub current: Version,
}

/// Which version is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VersionRef {
    /// The current one.
    Current,
    /// The one with this id.
    Id(Id),
    /// The one at this place in the history.
    Ordinal(u64),
}

impl VersionRef {
    /// Whether `version`, which is the current one, is meant.
    pub(super) fn is_met_by(&self, version: &Version) -> bool {
        match self {
            Self::Current => true,
            Self::Id(id) => *id == version.id,
            Self::Ordinal(ordinal) => *ordinal == version.ordinal,
        }
    }
}

impl FromStr for VersionRef {
    type Err = Error;
    /// An ordinal (`3`) or an id (32 hexadecimal digits).
    fn from_str(text: &str) -> Result<Self> {
        if let Some(id) = (text.len() == 32).then(|| text.parse().ok()).flatten() {
            return Ok(Self::Id(id));
        }
        match text.parse() {
            Ok(ordinal) if ordinal > 0 && i64::try_from(ordinal).is_ok() && !text.starts_with('+') => {
                Ok(Self::Ordinal(ordinal))
            }
            _ => Err(Error::invalid(format!(
                "`{}` is not a version: give its number (from 1) or its id (32 hexadecimal digits)",
                text.escape_debug()
            ))),
        }
    }
}

impl std::fmt::Display for VersionRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Current => f.write_str("current"),
            Self::Id(id) => id.fmt(f),
            Self::Ordinal(ordinal) => ordinal.fmt(f),
        }
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

/// Notes beside a value, by name. They are stored in the clear: never put a secret there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tags(BTreeMap<String, String>);

impl Tags {
    /// Checked tags: at most 64, names of 1 to 256 bytes, values of at most 512.
    ///
    /// # Errors
    /// `Invalid`, saying which rule is broken.
    pub fn new(tags: BTreeMap<String, String>) -> Result<Self> {
        if tags.len() > 64 {
            return Err(Error::invalid(format!(
                "{} tags are too many: give at most 64",
                tags.len()
            )));
        }
        match tags
            .iter()
            .find(|(name, value)| !(1..=256).contains(&name.len()) || value.len() > 512)
        {
            Some((name, _)) => Err(Error::invalid(format!(
                "tag `{}` is too long: a name has 1 to 256 bytes, a value at most 512",
                name.escape_debug()
            ))),
            None => Ok(Self(tags)),
        }
    }

    /// By name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_named_by_number_or_id() {
        assert_eq!("3".parse::<VersionRef>().unwrap(), VersionRef::Ordinal(3));
        let digits = "12345678901234567890123456789012";
        assert_eq!(
            digits.parse::<VersionRef>().unwrap(),
            VersionRef::Id(digits.parse().unwrap())
        );
        for bad in ["", "0", "-1", "+1", "v1", "99999999999999999999", "abcd"] {
            assert!(bad.parse::<VersionRef>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_stands_beside_a_value_is_bounded() {
        assert!("text/plain; charset=utf-8".parse::<ContentType>().is_ok());
        for bad in ["", "a\nb", "ä", &"x".repeat(256)] {
            assert!(bad.parse::<ContentType>().is_err(), "{bad:?}");
        }
        let many = (0..65).map(|n| (n.to_string(), String::new())).collect();
        assert!(Tags::new(many).is_err());
        assert!(Tags::new([(String::new(), String::new())].into()).is_err());
        assert!(Tags::new([("a".to_owned(), "x".repeat(513))].into()).is_err());
        assert!(Tags::new([("a".to_owned(), "x".repeat(512))].into()).is_ok());
    }
}
