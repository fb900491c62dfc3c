//! Whom an assignment is for: one identity, all below a path, or a group.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::principal::{SpiffeId, TrustDomain};
use crate::error::{Error, Result};

/// What a group is spelled with where it stands beside SPIFFE IDs.
const GROUP: &str = "group:";

/// The longest name of a group, in bytes.
const MAX_GROUP_BYTES: usize = 256;

/// A group's name: what an identity provider calls it, or an administrator.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Group(String);

impl Group {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Group {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let good =
            (1..=MAX_GROUP_BYTES).contains(&text.len()) && text.trim() == text && !text.chars().any(char::is_control);
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::invalid(format!(
                "`{}` is not a group's name: use 1 to {MAX_GROUP_BYTES} bytes without control characters and without \
                 blanks at its ends",
                text.escape_debug()
            )))
        }
    }
}

impl TryFrom<String> for Group {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Group> for String {
    fn from(group: Group) -> Self {
        group.0
    }
}

/// All identities below a path: `spiffe://chancery.test/team-a/*`, or a whole trust domain: `spiffe://chancery.test/*`.
/// The path itself is not among them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffePrefix(String);

impl SpiffePrefix {
    /// Whether an identity is below it.
    pub fn covers(&self, id: &SpiffeId) -> bool {
        id.as_str().starts_with(&self.0)
    }
}

impl fmt::Display for SpiffePrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}*", self.0)
    }
}

/// Whom an assignment is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Who {
    /// Whoever is in this group: `group:platform`.
    Group(Group),
    /// One identity: `spiffe://chancery.test/web`.
    Identity(SpiffeId),
    /// All below a path: `spiffe://chancery.test/team-a/*`.
    Prefix(SpiffePrefix),
}

impl Who {
    /// Whether this identity, which is in `groups`, is meant.
    pub fn is<'g>(&self, id: &SpiffeId, groups: impl IntoIterator<Item = &'g Group>) -> bool {
        match self {
            Self::Group(group) => groups.into_iter().any(|one| one == group),
            Self::Identity(one) => one == id,
            Self::Prefix(prefix) => prefix.covers(id),
        }
    }

    /// What assignments are looked up by: for each identity there are as many as [`keys_of`] says.
    pub fn key(&self) -> String {
        match self {
            Self::Group(group) => group_key(group),
            Self::Identity(id) => id.to_string(),
            Self::Prefix(prefix) => prefix.0.clone(),
        }
    }
}

/// The key of what a group holds.
pub fn group_key(group: &Group) -> String {
    format!("{GROUP}{group}")
}

/// The keys of all that an identity can hold by its name: itself, and each path that it lies below.
pub fn keys_of(id: &SpiffeId) -> impl Iterator<Item = &str> {
    let text = id.as_str();
    // The first two slashes are those of `spiffe://`.
    let slashes = text.match_indices('/').skip(2);
    std::iter::once(text).chain(slashes.filter_map(move |(at, _)| text.get(..=at)))
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(group) => write!(f, "{GROUP}{group}"),
            Self::Identity(id) => id.fmt(f),
            Self::Prefix(prefix) => prefix.fmt(f),
        }
    }
}

impl FromStr for Who {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        if let Some(name) = text.strip_prefix(GROUP) {
            return name.parse().map(Self::Group);
        }
        if let Some(base) = text.strip_suffix("/*") {
            let is_domain = || {
                base.strip_prefix("spiffe://")
                    .is_some_and(|name| name.parse::<TrustDomain>().is_ok())
            };
            return match base.parse::<SpiffeId>().is_ok() || is_domain() {
                true => Ok(Self::Prefix(SpiffePrefix(format!("{base}/")))),
                false => Err(unknown(text)),
            };
        }
        text.parse().map(Self::Identity).map_err(|_| unknown(text))
    }
}

fn unknown(text: &str) -> Error {
    Error::invalid(format!(
        "`{}` is nobody: use a SPIFFE ID (`spiffe://<trust domain>/<path>`), all below a path \
         (`spiffe://<trust domain>/<path>/*`) or a group (`group:<name>`)",
        text.escape_debug()
    ))
}

impl TryFrom<String> for Who {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Who> for String {
    fn from(who: Who) -> Self {
        who.to_string()
    }
}

impl From<SpiffeId> for Who {
    fn from(id: SpiffeId) -> Self {
        Self::Identity(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_and_whom_it_means_are_one() {
        for text in [
            "spiffe://chancery.test/web",
            "spiffe://chancery.test/team-a/*",
            "spiffe://chancery.test/*",
            "group:platform",
            "group:Domain Users",
            "group:/org/team",
        ] {
            assert_eq!(text.parse::<Who>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "*",
            "web",
            "group:",
            "group: a",
            "group:a\n",
            "spiffe://*",
            "spiffe:///*",
            "spiffe://chancery.test/a*",
            "spiffe://chancery.test/*/a",
            "spiffe://chancery.test/a/../*",
            "spiffe://chancery.test//*",
            "spiffe://TD/*",
        ] {
            assert!(bad.parse::<Who>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_prefix_is_of_whole_parts_and_its_keys_find_it() {
        let prefix: Who = "spiffe://chancery.test/team-a/*".parse().unwrap();
        let domain: Who = "spiffe://chancery.test/*".parse().unwrap();
        for (id, in_team) in [
            ("spiffe://chancery.test/team-a/web", true),
            ("spiffe://chancery.test/team-a/web/1", true),
            ("spiffe://chancery.test/team-a", false),
            ("spiffe://chancery.test/team-ab/web", false),
            ("spiffe://chancery.test/x/team-a/web", false),
        ] {
            let id: SpiffeId = id.parse().unwrap();
            assert_eq!(prefix.is(&id, []), in_team, "{id}");
            assert_eq!(keys_of(&id).any(|key| key == prefix.key()), in_team, "{id}");
            assert!(domain.is(&id, []) && keys_of(&id).any(|key| key == domain.key()));
        }
        let elsewhere: SpiffeId = "spiffe://chancery.test.evil/team-a/web".parse().unwrap();
        assert!(!domain.is(&elsewhere, []) && keys_of(&elsewhere).all(|key| key != domain.key()));
    }
}
