//! Labels that point at versions: their names, and where those of one secret point. Pure.
//!
//! INVARIANT: a label points at one version at most, and `AWSCURRENT` always at one. `AWSPREVIOUS` goes to the version
//! that `AWSCURRENT` leaves.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::vault::version::VersionRef;

/// The most labels that point at one version.
const MOST_OF_VERSION: usize = 20;
/// The most labels that a secret has.
const MOST_OF_SECRET: usize = 100;

/// The name of a label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VersionLabel(String);

impl VersionLabel {
    /// Of the version that is read if none is named.
    pub const CURRENT: &'static str = "AWSCURRENT";
    /// Of the version that was current before.
    pub const PREVIOUS: &'static str = "AWSPREVIOUS";
    /// Of a version that is not yet current, by the custom of rotators.
    pub const PENDING: &'static str = "AWSPENDING";

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// [`Self::PENDING`].
    pub(super) fn pending() -> Self {
        Self(Self::PENDING.to_owned())
    }

    /// [`Self::CURRENT`].
    pub(super) fn current() -> Self {
        Self(Self::CURRENT.to_owned())
    }

    /// Whether it is [`Self::CURRENT`].
    pub fn is_current(&self) -> bool {
        self.0 == Self::CURRENT
    }

    /// Whether it is [`Self::PREVIOUS`].
    pub(super) fn is_previous(&self) -> bool {
        self.0 == Self::PREVIOUS
    }
}

impl fmt::Display for VersionLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for VersionLabel {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let is_id = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let is_name = (1..=256).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if is_name && !is_id {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::invalid(format!(
            "`{}` is not a label: use 1 to 256 letters, digits and `-_.`, a letter first, and not what looks like a \
             version's id",
            text.escape_debug()
        )))
    }
}

/// Which version of a secret is meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WhichVersion {
    /// The one that a label points at.
    Label(VersionLabel),
    /// The current one, or the one with a number or id.
    Version(VersionRef),
}

impl From<VersionRef> for WhichVersion {
    fn from(version: VersionRef) -> Self {
        Self::Version(version)
    }
}

impl FromStr for WhichVersion {
    type Err = Error;
    /// An ordinal, an id or a label.
    fn from_str(text: &str) -> Result<Self> {
        if let Ok(version) = text.parse() {
            return Ok(Self::Version(version));
        }
        match text.parse::<VersionLabel>() {
            Ok(label) if label.is_current() => Ok(Self::Version(VersionRef::Current)),
            Ok(label) => Ok(Self::Label(label)),
            Err(_) => Err(Error::invalid(format!(
                "`{}` is not a version: give its number (from 1), its id (32 hexadecimal digits) or a label",
                text.escape_debug()
            ))),
        }
    }
}

impl fmt::Display for WhichVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label(label) => label.fmt(f),
            Self::Version(version) => version.fmt(f),
        }
    }
}

/// Where the labels of a secret point, by ordinal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pointers {
    pub(super) current: u64,
    pub(super) previous: Option<u64>,
    /// Those that have no rule of their own.
    pub(super) others: BTreeMap<VersionLabel, u64>,
}

impl Pointers {
    /// Where a label points.
    pub(super) fn at(&self, label: &VersionLabel) -> Option<u64> {
        match label {
            label if label.is_current() => Some(self.current),
            label if label.is_previous() => self.previous,
            label => self.others.get(label).copied(),
        }
    }

    /// The labels that point at a version.
    pub(super) fn of(&self, ordinal: u64) -> Vec<VersionLabel> {
        let ruled = [
            (VersionLabel::CURRENT, Some(self.current)),
            (VersionLabel::PREVIOUS, self.previous),
        ];
        let ruled = ruled
            .into_iter()
            .filter(|(_, at)| *at == Some(ordinal))
            .map(|(label, _)| VersionLabel(label.to_owned()));
        let others = self.others.iter().filter(|(_, at)| **at == ordinal);
        ruled.chain(others.map(|(label, _)| label.clone())).collect()
    }

    /// Points a label at a version.
    ///
    /// # Errors
    /// `Invalid` if there are too many.
    pub(super) fn point(&mut self, label: &VersionLabel, ordinal: u64) -> Result<()> {
        if label.is_current() {
            if self.current != ordinal {
                self.previous = Some(self.current);
                self.current = ordinal;
            }
            return Ok(());
        }
        if label.is_previous() {
            self.previous = Some(ordinal);
        } else {
            self.others.insert(label.clone(), ordinal);
        }
        if self.of(ordinal).len() > MOST_OF_VERSION {
            return Err(Error::invalid(format!(
                "version {ordinal} has {MOST_OF_VERSION} labels, which is the most: take one away first"
            )));
        }
        if self.others.len() > MOST_OF_SECRET {
            return Err(Error::invalid(format!(
                "the secret has {MOST_OF_SECRET} labels, which is the most: take one away first"
            )));
        }
        Ok(())
    }

    /// Takes a label away.
    ///
    /// # Errors
    /// `Invalid` for the one that must point somewhere.
    pub(super) fn remove(&mut self, label: &VersionLabel) -> Result<()> {
        if label.is_current() {
            return Err(Error::invalid(format!(
                "`{label}` always points at a version: point it at another one"
            )));
        }
        if label.is_previous() {
            self.previous = None;
        } else {
            self.others.remove(label);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(text: &str) -> VersionLabel {
        text.parse().unwrap()
    }

    #[test]
    fn a_label_is_never_taken_for_a_number_or_an_id() {
        for good in [
            "AWSPENDING",
            "blue",
            "a",
            "v1.2-rc_3",
            &"a".repeat(31),
            &"a".repeat(256),
        ] {
            assert!(good.parse::<VersionLabel>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "1",
            "1a",
            "-a",
            "a b",
            "a/b",
            "ä",
            &"a".repeat(32),
            &"g".repeat(257),
        ] {
            assert!(bad.parse::<VersionLabel>().is_err(), "{bad}");
        }
        for (text, wanted) in [
            ("3", WhichVersion::Version(VersionRef::Ordinal(3))),
            ("AWSCURRENT", WhichVersion::Version(VersionRef::Current)),
            ("AWSPREVIOUS", WhichVersion::Label(label("AWSPREVIOUS"))),
        ] {
            assert_eq!(text.parse::<WhichVersion>().unwrap(), wanted);
        }
        assert!("0".parse::<WhichVersion>().is_err());
    }

    #[test]
    fn previous_is_where_current_was() {
        let mut pointers = Pointers {
            current: 3,
            previous: Some(2),
            others: BTreeMap::new(),
        };
        // To where it is: nothing moves.
        pointers.point(&label("AWSCURRENT"), 3).unwrap();
        assert_eq!((pointers.current, pointers.previous), (3, Some(2)));
        // Back: the two change places.
        pointers.point(&label("AWSCURRENT"), 2).unwrap();
        assert_eq!((pointers.current, pointers.previous), (2, Some(3)));
        assert!(pointers.remove(&label("AWSCURRENT")).is_err());
        pointers.remove(&label("AWSPREVIOUS")).unwrap();
        assert_eq!(pointers.at(&label("AWSPREVIOUS")), None);
    }

    #[test]
    fn a_version_has_few_labels() {
        let mut pointers = Pointers {
            current: 1,
            previous: None,
            others: BTreeMap::new(),
        };
        for n in 1..MOST_OF_VERSION {
            pointers.point(&label(&format!("l{n}")), 1).unwrap();
        }
        assert_eq!(pointers.of(1).len(), MOST_OF_VERSION);
        assert!(pointers.clone().point(&label("more"), 1).is_err());
        pointers.point(&label("more"), 2).unwrap();
        assert_eq!(pointers.of(2), [label("more")]);
        // A move is none more.
        pointers.point(&label("l1"), 2).unwrap();
        pointers.point(&label("last"), 1).unwrap();
    }
}
