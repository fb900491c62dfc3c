//! What versions of secrets and of keys have in common: how one is named, when it holds, and what may be written beside
//! it. Pure.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::Id;

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
    /// Whether the current version, which is this one, is meant.
    pub(super) fn is_met_by(self, id: Id, ordinal: u64) -> bool {
        match self {
            Self::Current => true,
            Self::Id(wanted) => wanted == id,
            Self::Ordinal(wanted) => wanted == ordinal,
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

/// Checks that there is a time in which it can be used.
pub(super) fn check_times(what: &str, not_before: Option<Timestamp>, expires: Option<Timestamp>) -> Result<()> {
    match (not_before, expires) {
        (Some(begins), Some(ends)) if ends <= begins => Err(Error::invalid(format!(
            "a {what} that expires at {ends} cannot begin at {begins}: let it expire later"
        ))),
        _ => Ok(()),
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

    /// What is noted under a name.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
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
    fn what_stands_beside_a_version_is_bounded() {
        let many = (0..65).map(|n| (n.to_string(), String::new())).collect();
        assert!(Tags::new(many).is_err());
        assert!(Tags::new([(String::new(), String::new())].into()).is_err());
        assert!(Tags::new([("a".to_owned(), "x".repeat(513))].into()).is_err());
        assert!(Tags::new([("a".to_owned(), "x".repeat(512))].into()).is_ok());
    }

    #[test]
    fn a_time_to_use_it_must_be_left() {
        let at = |seconds| Some(Timestamp::from_unix(seconds));
        assert!(check_times("key", at(5), at(6)).is_ok());
        assert!(check_times("key", at(5), None).is_ok());
        assert!(check_times("key", at(5), at(5)).is_err());
    }
}
