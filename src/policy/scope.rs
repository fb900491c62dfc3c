//! Where a role holds, and who holds it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::principal::AcmeAccount;
use super::resource::{ObjectKind, Resource};
use super::role::{Role, RoleName};
use super::who::Who;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::{Id, Label, ObjectName};

/// Where a role holds: on the resource that it names and on all that lies in it.
///
/// SECURITY: `policy` and `identities` are no scopes. Who may assign roles can take any, and who may make a join token
/// can be anybody, so those powers are given with [`Scope::Everything`] only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Scope {
    /// The audit log: `audit`.
    Audit,
    /// An authority of our own: `authorities/internal`.
    Authority(Label),
    /// The service as a whole: `/`.
    Everything,
    /// An upstream issuer: `issuers/pebble`.
    Issuer(Label),
    /// One object, whether or not it exists yet: `vaults/kv-prod/secrets/db-password`.
    Object {
        /// The vault it lies in.
        vault: Label,
        /// What it is.
        kind: ObjectKind,
        /// Its name in the vault.
        name: ObjectName,
    },
    /// The objects of a kind whose names begin with `prefix/`, or all of them: `vaults/kv-prod/secrets/team-a/`,
    /// `vaults/kv-prod/secrets/`.
    Prefix {
        /// The vault they lie in.
        vault: Label,
        /// What they are.
        kind: ObjectKind,
        /// The parts of the name before the last `/`; `None` for all objects of the kind.
        prefix: Option<ObjectName>,
    },
    /// A vault and its objects: `vaults/kv-prod`.
    Vault(Label),
}

impl Scope {
    /// Whether `other` lies in this scope, or is it.
    pub fn holds(&self, other: &Self) -> bool {
        let samples = other.samples("x");
        !samples.is_empty() && samples.iter().all(|resource| resource.scopes().contains(self))
    }

    /// Something of each kind that roles speak of and that lies in this scope, named `x`, one part of a name, where it
    /// is not named by the scope; nothing, if no name can be so long.
    pub fn samples(&self, x: &str) -> Vec<Resource> {
        let named = match self {
            Self::Prefix {
                prefix: Some(prefix), ..
            } => format!("{prefix}/{x}"),
            Self::Object { name, .. } => name.to_string(),
            _ => x.to_owned(),
        };
        let object = |vault: &Label, kind: ObjectKind| {
            let name = named.parse().ok()?;
            let vault = vault.clone();
            Some(Resource::Object { vault, kind, name })
        };
        match self {
            Self::Audit => vec![Resource::Audit],
            Self::Authority(name) => vec![
                Resource::Authority(name.clone()),
                Resource::Account(AcmeAccount {
                    authority: name.clone(),
                    id: Id::from([0; 16]),
                    role: None,
                }),
            ],
            Self::Everything => {
                let alone = [
                    Resource::Everything,
                    Resource::Audit,
                    Resource::Identities,
                    Resource::Policy,
                ];
                let name = x.parse::<Label>().into_iter();
                let named = name.flat_map(|name| {
                    let authority = Self::Authority(name.clone()).samples(x);
                    let issuer = Self::Issuer(name.clone()).samples(x);
                    authority.into_iter().chain(issuer).chain(Self::Vault(name).samples(x))
                });
                let identity = "spiffe://x/x".parse().map(Resource::Identity).into_iter();
                alone.into_iter().chain(named).chain(identity).collect()
            }
            Self::Issuer(name) => vec![Resource::Issuer(name.clone())],
            Self::Object { vault, kind, .. } | Self::Prefix { vault, kind, .. } => {
                object(vault, *kind).into_iter().collect()
            }
            Self::Vault(vault) => ObjectKind::ALL
                .into_iter()
                .filter_map(|kind| object(vault, kind))
                .chain([Resource::Vault(vault.clone())])
                .collect(),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Audit => f.write_str("audit"),
            Self::Authority(name) => write!(f, "authorities/{name}"),
            Self::Everything => f.write_str("/"),
            Self::Issuer(name) => write!(f, "issuers/{name}"),
            Self::Object { vault, kind, name } => write!(f, "vaults/{vault}/{}/{name}", kind.segment()),
            Self::Prefix { vault, kind, prefix } => {
                write!(f, "vaults/{vault}/{}/", kind.segment())?;
                match prefix {
                    Some(prefix) => write!(f, "{prefix}/"),
                    None => Ok(()),
                }
            }
            Self::Vault(name) => write!(f, "vaults/{name}"),
        }
    }
}

impl FromStr for Scope {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        if let Some(path) = text.strip_suffix('/')
            && !path.is_empty()
        {
            return prefix(path).ok_or_else(|| unknown(text));
        }
        match text.parse::<Resource>().map_err(|_| unknown(text))? {
            Resource::Audit => Ok(Self::Audit),
            Resource::Authority(name) => Ok(Self::Authority(name)),
            Resource::Everything => Ok(Self::Everything),
            Resource::Issuer(name) => Ok(Self::Issuer(name)),
            Resource::Object { vault, kind, name } => Ok(Self::Object { vault, kind, name }),
            Resource::Vault(name) => Ok(Self::Vault(name)),
            Resource::Account(_) | Resource::Identities | Resource::Identity(_) | Resource::Policy => {
                Err(unknown(text))
            }
        }
    }
}

/// A prefix scope from its path without the last `/`.
fn prefix(path: &str) -> Option<Scope> {
    let (vault, rest) = path.strip_prefix("vaults/")?.split_once('/')?;
    let (segment, prefix) = match rest.split_once('/') {
        Some((segment, prefix)) => (segment, Some(prefix.parse().ok()?)),
        None => (rest, None),
    };
    Some(Scope::Prefix {
        vault: vault.parse().ok()?,
        kind: ObjectKind::from_segment(segment)?,
        prefix,
    })
}

fn unknown(text: &str) -> Error {
    Error::invalid(format!(
        "`{}` is not a scope: use `/`, `vaults/<vault>`, `vaults/<vault>/secrets/<name>`, a prefix that ends in `/` like \
         `vaults/<vault>/secrets/<prefix>/`, the same with `keys` or `certificates`, `authorities/<name>`, `issuers/<name>` or \
         `audit`",
        text.escape_debug()
    ))
}

impl TryFrom<String> for Scope {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.to_string()
    }
}

/// Whether an assignment gives or takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// What the role allows may be done.
    #[default]
    Allow,
    /// What the role allows may not be done, whatever else allows it.
    Deny,
}

/// Somebody holds a role somewhere, or is denied what it allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The assignment's own id; a decision names it.
    pub id: Id,
    /// Who holds the role.
    pub who: Who,
    /// Which role.
    pub role: RoleName,
    /// Where.
    pub scope: Scope,
    /// Whether it gives or takes.
    pub verdict: Verdict,
    /// From this moment on it holds; `None` is at once.
    pub not_before: Option<Timestamp>,
    /// From this moment on it holds no longer; `None` is until it is revoked.
    pub expires: Option<Timestamp>,
}

impl Assignment {
    /// A role that is held at once and until it is revoked.
    pub fn lasting(id: Id, who: impl Into<Who>, role: impl Into<RoleName>, scope: Scope) -> Self {
        Self {
            id,
            who: who.into(),
            role: role.into(),
            scope,
            verdict: Verdict::Allow,
            not_before: None,
            expires: None,
        }
    }

    /// Whether it holds at `now`.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.not_before.is_none_or(|begins| begins <= now) && self.expires.is_none_or(|expires| now < expires)
    }

    /// When it begins or ends next after `now`.
    pub fn changes(&self, now: Timestamp) -> Option<Timestamp> {
        [self.not_before, self.expires]
            .into_iter()
            .flatten()
            .filter(|at| *at > now)
            .min()
    }

    /// Whether it makes somebody an administrator of everything, for good.
    pub fn is_lasting_administrator(&self) -> bool {
        matches!(self.who, Who::Identity(_))
            && self.role == RoleName::BuiltIn(Role::Administrator)
            && self.scope == Scope::Everything
            && self.verdict == Verdict::Allow
            && self.not_before.is_none()
            && self.expires.is_none()
    }
}

impl fmt::Display for Assignment {
    /// As decisions name it: `Secrets User@vaults/kv-prod#<id>`, one that takes with `deny:` before it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.verdict == Verdict::Deny {
            f.write_str("deny:")?;
        }
        write!(f, "{}@{}#{}", self.role, self.scope, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_holds_itself_and_what_lies_in_it() {
        let around = [
            "/",
            "vaults/kv",
            "vaults/kv/secrets/",
            "vaults/kv/secrets/a/",
            "vaults/kv/secrets/a/b/",
            "vaults/kv/secrets/a/b/c",
        ];
        let scope = |text: &str| text.parse::<Scope>().unwrap();
        for (at, outer) in around.iter().enumerate() {
            for (below, inner) in around.iter().enumerate() {
                assert_eq!(scope(outer).holds(&scope(inner)), at <= below, "{outer} {inner}");
            }
            for other in [
                "vaults/kw/secrets/a/b/c",
                "audit",
                "authorities/x",
                "issuers/x",
                "vaults/x",
            ] {
                assert_eq!(scope(outer).holds(&scope(other)), *outer == "/", "{outer} {other}");
            }
        }
        assert!(!scope("vaults/kv/secrets/a/").holds(&scope("vaults/kv/secrets/ab")));
        assert!(!scope("vaults/kv/secrets/a").holds(&scope("vaults/kv/secrets/a/b")));
        assert!(!scope("vaults/kv/secrets/a/").holds(&scope("vaults/kv/secrets/a")));
        assert!(!scope("vaults/kv/keys/").holds(&scope("vaults/kv/secrets/")));
    }

    #[test]
    fn a_path_and_its_scope_are_one() {
        for path in [
            "/",
            "audit",
            "authorities/internal",
            "issuers/pebble",
            "vaults/kv-prod",
            "vaults/kv-prod/certificates/",
            "vaults/kv-prod/keys/a",
            "vaults/kv-prod/secrets/a",
            "vaults/kv-prod/secrets/a/",
            "vaults/kv-prod/secrets/a/b/",
        ] {
            assert_eq!(path.parse::<Scope>().unwrap().to_string(), path);
        }
        for bad in [
            "",
            "//",
            "policy",
            "identities",
            "audit/",
            "vaults/",
            "vaults/kv-prod/",
            "vaults/kv-prod/tokens/",
            "vaults/kv-prod/secrets//",
            "vaults/kv-prod/secrets/../",
            "identities/spiffe://td/a",
        ] {
            assert!(bad.parse::<Scope>().is_err(), "{bad:?}");
        }
    }
}
