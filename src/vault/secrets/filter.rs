//! What a list of secrets is narrowed by. Pure.

use std::str::FromStr;

use super::version::Described;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::vault::names::names;

names!(
    /// How the current version of a secret stands.
    SecretState, "a state of a secret", {
        /// It is disabled.
        Disabled = "disabled",
        /// It is enabled, and its time is not over.
        Enabled = "enabled",
        /// Its time is over.
        Expired = "expired",
    }
);

/// A tag that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagFilter {
    name: String,
    value: Option<String>,
}

impl FromStr for TagFilter {
    type Err = Error;
    /// `name:value`, or `name` for any value.
    fn from_str(text: &str) -> Result<Self> {
        let (name, value) = match text.split_once(':') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        if name.is_empty() {
            return Err(Error::invalid(
                "a tag is asked for by its name: write name:value or name",
            ));
        }
        Ok(Self {
            name: name.to_owned(),
            value,
        })
    }
}

impl TagFilter {
    /// What tags that hold it have in common as JSON.
    pub(super) fn in_json(&self) -> Result<String> {
        let quoted =
            |text: &str| serde_json::to_string(text).map_err(|e| Error::internal("text is not JSON").because(e));
        Ok(match &self.value {
            Some(value) => format!("{}:{}", quoted(&self.name)?, quoted(value)?),
            None => format!("{}:", quoted(&self.name)?),
        })
    }
}

/// What all secrets of a list have in common; of their versions it is the current one that counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretFilter {
    /// What their names begin with.
    pub prefix: Option<String>,
    /// A tag that they have.
    pub tag: Option<TagFilter>,
    /// How they stand.
    pub state: Option<SecretState>,
}

impl SecretFilter {
    /// Whether a secret belongs in the list.
    pub(super) fn admits(&self, secret: &Described, now: Timestamp) -> bool {
        let attributes = &secret.version.attributes;
        let prefix = self.prefix.as_deref().unwrap_or_default();
        let tag = self.tag.as_ref().is_none_or(|tag| {
            let found = attributes.tags.value(&tag.name);
            found.is_some() && (tag.value.is_none() || found == tag.value.as_deref())
        });
        let state = self.state.is_none_or(|state| match state {
            SecretState::Disabled => !attributes.enabled,
            SecretState::Enabled => attributes.enabled && !attributes.has_expired(now),
            SecretState::Expired => attributes.has_expired(now),
        });
        secret.name.as_str().starts_with(prefix) && tag && state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_asked_for_with_or_without_its_value() {
        let parsed = |text: &str| text.parse::<TagFilter>().map(|tag| (tag.name, tag.value));
        assert_eq!(parsed("env:prod").unwrap(), ("env".into(), Some("prod".into())));
        assert_eq!(parsed("url:http://x").unwrap(), ("url".into(), Some("http://x".into())));
        assert_eq!(parsed("env").unwrap(), ("env".into(), None));
        assert_eq!(parsed("env:").unwrap(), ("env".into(), Some(String::new())));
        assert!(parsed(":prod").is_err());
        assert!(parsed("").is_err());
    }
}
