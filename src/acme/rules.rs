//! Which names an account may ask for, as an administrator says.

use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;

use super::identifier::{Asked, HostName, Identifier};
use crate::error::{Error, Result};

/// Names that are allowed, and names that are denied whatever is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameRules {
    /// If there are any, only these.
    pub allow: Vec<Pattern>,
    /// Never these.
    pub deny: Vec<Pattern>,
}

/// A name, all names below one, or a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// `a.test`: this name.
    Name(HostName),
    /// `*.a.test`: every name below it, at whatever depth, and wildcards there.
    Below(HostName),
    /// `10.0.0.0/8` or a single address.
    Network(IpNet),
}

impl NameRules {
    /// Reads patterns.
    ///
    /// # Errors
    /// `Invalid`, with what a pattern looks like.
    pub fn patterns(texts: &[String]) -> Result<Vec<Pattern>> {
        texts.iter().map(|text| text.parse()).collect()
    }

    /// What is allowed, and what is denied, as text.
    pub fn texts(&self) -> [Vec<String>; 2] {
        [&self.allow, &self.deny].map(|patterns| patterns.iter().map(Pattern::to_string).collect())
    }

    /// As the store keeps it.
    pub(super) fn to_json(&self) -> String {
        serde_json::json!(self.texts()).to_string()
    }

    /// From the store.
    pub(super) fn from_json(text: &str) -> Result<Self> {
        let [allow, deny]: [Vec<String>; 2] =
            serde_json::from_str(text).map_err(|e| Error::internal("stored rules cannot be read").because(e))?;
        Ok(Self {
            allow: Self::patterns(&allow)?,
            deny: Self::patterns(&deny)?,
        })
    }

    /// Judges a name of an order.
    ///
    /// # Errors
    /// Why it is refused.
    pub(super) fn check(&self, asked: &Asked) -> Result<(), String> {
        if let Some(rule) = self.deny.iter().find(|rule| rule.touches(asked)) {
            return Err(format!(
                "`{asked}` is denied to this account by the rule `{rule}`: ask an administrator"
            ));
        }
        if self.allow.is_empty() || self.allow.iter().any(|rule| rule.covers(asked)) {
            return Ok(());
        }
        let allowed: Vec<String> = self.allow.iter().map(|rule| format!("`{rule}`")).collect();
        Err(format!(
            "`{asked}` is not among the names of this account, which are {}: ask an administrator",
            allowed.join(", ")
        ))
    }
}

impl Pattern {
    /// Whether all that `asked` is for lies within it.
    fn covers(&self, asked: &Asked) -> bool {
        match (self, &asked.identifier) {
            (Self::Name(name), Identifier::Dns(base)) => !asked.wildcard && name == base,
            (Self::Below(parent), Identifier::Dns(base)) => {
                is_below(base, parent) || (asked.wildcard && base == parent)
            }
            (Self::Network(network), Identifier::Ip(ip)) => network.contains(ip),
            _ => false,
        }
    }

    /// Whether anything that `asked` is for lies within it: SECURITY: a wildcard is for the names right below it.
    fn touches(&self, asked: &Asked) -> bool {
        match (self, &asked.identifier) {
            (Self::Name(name), Identifier::Dns(base)) if asked.wildcard => name
                .as_str()
                .split_once('.')
                .is_some_and(|(_, parent)| parent == base.as_str()),
            _ => self.covers(asked),
        }
    }
}

fn is_below(name: &HostName, parent: &HostName) -> bool {
    // Whole labels, never ends of strings.
    name.climb().skip(1).any(|ancestor| ancestor == parent.as_str())
}

impl FromStr for Pattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Ok(network) = text.parse::<IpNet>() {
            return Ok(Self::Network(network.trunc()));
        }
        if let Ok(address) = text.parse::<std::net::IpAddr>() {
            return Ok(Self::Network(address.into()));
        }
        let refuse = |e| {
            Error::invalid(format!(
                "`{}` is no pattern of names: use `a.test` for a name, `*.a.test` for all below it, or a network like \
                 `10.0.0.0/8`",
                text.escape_debug()
            ))
            .because(e)
        };
        match text.strip_prefix("*.") {
            Some(parent) => parent.parse().map(Self::Below).map_err(refuse),
            None => text.parse().map(Self::Name).map_err(refuse),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Below(parent) => write!(f, "*.{parent}"),
            Self::Network(network) => network.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(rules: &NameRules, name: &str) -> bool {
        let kind = if name.parse::<std::net::IpAddr>().is_ok() {
            "ip"
        } else {
            "dns"
        };
        rules.check(&Asked::parse(kind, name).unwrap()).is_ok()
    }

    fn rules(allow: &[&str], deny: &[&str]) -> NameRules {
        let owned = |patterns: &[&str]| patterns.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        NameRules {
            allow: NameRules::patterns(&owned(allow)).unwrap(),
            deny: NameRules::patterns(&owned(deny)).unwrap(),
        }
    }

    #[test]
    fn without_rules_all_is_allowed() {
        assert!(allows(&NameRules::default(), "a.test"));
        assert!(allows(&NameRules::default(), "10.0.0.1"));
    }

    #[test]
    fn what_is_allowed_is_all_that_is() {
        let rules = rules(&["a.test", "*.b.test", "10.1.0.0/16", "2001:db8::1"], &[]);
        for good in [
            "a.test",
            "x.b.test",
            "x.y.b.test",
            "*.b.test",
            "*.x.b.test",
            "10.1.2.3",
            "2001:db8::1",
        ] {
            assert!(allows(&rules, good), "{good}");
        }
        for bad in ["*.a.test", "x.a.test", "b.test", "xb.test", "10.2.0.1", "2001:db8::2"] {
            assert!(!allows(&rules, bad), "{bad}");
        }
    }

    #[test]
    fn what_is_denied_is_denied_to_wildcards_too() {
        let rules = rules(&["*.test"], &["secret.a.test", "*.b.test"]);
        for bad in ["secret.a.test", "*.a.test", "x.b.test", "*.b.test", "*.x.b.test"] {
            assert!(!allows(&rules, bad), "{bad}");
        }
        for good in ["x.a.test", "x.secret.a.test", "*.secret.a.test", "b.test", "*.c.test"] {
            assert!(allows(&rules, good), "{good}");
        }
    }

    #[test]
    fn patterns_come_back_from_text() {
        for text in ["a.test", "*.a.test", "10.0.0.0/8"] {
            assert_eq!(text.parse::<Pattern>().unwrap().to_string(), text);
        }
        let kept = rules(&["a.test"], &["*.b.test", "10.0.0.1"]);
        assert_eq!(NameRules::from_json(&kept.to_json()).unwrap(), kept);
        assert_eq!("10.1.2.3/8".parse::<Pattern>().unwrap().to_string(), "10.0.0.0/8");
        for bad in ["", "*", "a..test", "*.*.test", "a.*.test", "10.0.0.0/33"] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad}");
        }
    }
}
