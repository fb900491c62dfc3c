//! What is acted on, as a path: `vaults/kv-prod/secrets/db-password`.

use std::fmt;
use std::str::FromStr;

use super::action::Action;
use super::principal::{AcmeAccount, SpiffeId};
use super::scope::Scope;
use crate::error::{Error, Result};
use crate::id::{Label, ObjectName};

/// The kinds of object in a vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// A certificate object.
    Certificate,
    /// A key.
    Key,
    /// A secret.
    Secret,
}

impl ObjectKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Certificate, Self::Key, Self::Secret];

    /// The part of the path that names the kind.
    pub const fn segment(self) -> &'static str {
        match self {
            Self::Certificate => "certificates",
            Self::Key => "keys",
            Self::Secret => "secrets",
        }
    }

    /// One of them, in words.
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Key => "key",
            Self::Secret => "secret",
        }
    }

    pub(super) fn from_segment(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.segment() == text)
    }
}

/// What is acted on. An object lies in its vault and in every prefix `a/`, `a/b/` of its name; all lies in
/// [`Resource::Everything`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// An account of an authority's ACME server, with its orders: `authorities/internal/accounts/<id>`.
    Account(AcmeAccount),
    /// The audit log: `audit`.
    Audit,
    /// An authority of our own: `authorities/internal`.
    Authority(Label),
    /// The service as a whole: `/`.
    Everything,
    /// The register of identities: `identities`.
    Identities,
    /// One identity: `identities/spiffe://chancery.test/web`.
    Identity(SpiffeId),
    /// An upstream issuer: `issuers/pebble`.
    Issuer(Label),
    /// An object in a vault: `vaults/kv-prod/secrets/db-password`.
    Object {
        /// The vault it lies in.
        vault: Label,
        /// What it is.
        kind: ObjectKind,
        /// Its name in the vault.
        name: ObjectName,
    },
    /// Roles and their assignments: `policy`.
    Policy,
    /// A vault: `vaults/kv-prod`.
    Vault(Label),
}

impl Resource {
    /// A key.
    pub fn key(vault: Label, name: ObjectName) -> Self {
        Self::Object {
            vault,
            kind: ObjectKind::Key,
            name,
        }
    }

    /// A secret.
    pub fn secret(vault: Label, name: ObjectName) -> Self {
        Self::Object {
            vault,
            kind: ObjectKind::Secret,
            name,
        }
    }

    /// A certificate object.
    pub fn certificate(vault: Label, name: ObjectName) -> Self {
        Self::Object {
            vault,
            kind: ObjectKind::Certificate,
            name,
        }
    }
}

impl Resource {
    /// The act by which it is read or shown.
    pub const fn looking(&self) -> Action {
        match self {
            Self::Account(_) => Action::ShowAcmeAccount,
            Self::Audit => Action::ReadAuditLog,
            Self::Authority(_) => Action::ShowAuthority,
            Self::Everything => Action::ShowMetrics,
            Self::Identities => Action::ListIdentities,
            Self::Identity(_) => Action::ShowIdentity,
            Self::Issuer(_) => Action::ShowIssuer,
            Self::Object { kind, .. } => match kind {
                ObjectKind::Certificate => Action::DownloadCertificate,
                ObjectKind::Key => Action::ShowKey,
                ObjectKind::Secret => Action::ReadSecret,
            },
            Self::Policy => Action::ListRoleAssignments,
            Self::Vault(_) => Action::ShowVault,
        }
    }

    /// Every scope that it lies in.
    pub fn scopes(&self) -> Vec<Scope> {
        let mut scopes = vec![Scope::Everything];
        match self {
            Self::Account(account) => scopes.push(Scope::Authority(account.authority.clone())),
            Self::Audit => scopes.push(Scope::Audit),
            Self::Authority(name) => scopes.push(Scope::Authority(name.clone())),
            Self::Everything | Self::Identities | Self::Identity(_) | Self::Policy => {}
            Self::Issuer(name) => scopes.push(Scope::Issuer(name.clone())),
            Self::Object { vault, kind, name } => {
                let (vault, kind) = (vault.clone(), *kind);
                let within = |prefix| Scope::Prefix {
                    vault: vault.clone(),
                    kind,
                    prefix,
                };
                scopes.push(Scope::Vault(vault.clone()));
                scopes.push(within(None));
                let text = name.as_str();
                let parts = text
                    .match_indices('/')
                    .filter_map(|(at, _)| text.get(..at)?.parse().ok());
                scopes.extend(parts.map(|prefix| within(Some(prefix))));
                scopes.push(Scope::Object {
                    vault,
                    kind,
                    name: name.clone(),
                });
            }
            Self::Vault(name) => scopes.push(Scope::Vault(name.clone())),
        }
        scopes
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(account) => write!(f, "authorities/{}/accounts/{}", account.authority, account.id),
            Self::Audit => f.write_str("audit"),
            Self::Authority(name) => write!(f, "authorities/{name}"),
            Self::Everything => f.write_str("/"),
            Self::Identities => f.write_str("identities"),
            Self::Identity(id) => write!(f, "identities/{id}"),
            Self::Issuer(name) => write!(f, "issuers/{name}"),
            Self::Object { vault, kind, name } => write!(f, "vaults/{vault}/{}/{name}", kind.segment()),
            Self::Policy => f.write_str("policy"),
            Self::Vault(name) => write!(f, "vaults/{name}"),
        }
    }
}

impl FromStr for Resource {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let resource = match text {
            "/" => Self::Everything,
            "audit" => Self::Audit,
            "identities" => Self::Identities,
            "policy" => Self::Policy,
            _ => match text.split_once('/') {
                Some(("authorities", path)) => match path.split_once("/accounts/") {
                    Some((authority, id)) => Self::Account(AcmeAccount {
                        authority: authority.parse()?,
                        id: id.parse()?,
                        role: None,
                    }),
                    None => Self::Authority(path.parse()?),
                },
                Some(("identities", id)) => Self::Identity(id.parse()?),
                Some(("issuers", name)) => Self::Issuer(name.parse()?),
                Some(("vaults", rest)) => return in_vault(rest).ok_or_else(|| unknown(text)),
                _ => return Err(unknown(text)),
            },
        };
        Ok(resource)
    }
}

/// A vault or an object in one, from its path after `vaults/`.
fn in_vault(path: &str) -> Option<Resource> {
    let Some((vault, rest)) = path.split_once('/') else {
        return path.parse().ok().map(Resource::Vault);
    };
    let (segment, name) = rest.split_once('/')?;
    Some(Resource::Object {
        vault: vault.parse().ok()?,
        kind: ObjectKind::from_segment(segment)?,
        name: name.parse().ok()?,
    })
}

fn unknown(text: &str) -> Error {
    Error::invalid(format!(
        "`{}` is not a resource: use `/`, `vaults/<vault>`, `vaults/<vault>/secrets/<name>`, \
         `vaults/<vault>/keys/<name>`, `vaults/<vault>/certificates/<name>`, `authorities/<name>`, `issuers/<name>`, \
         `identities`, `policy` or `audit`",
        text.escape_debug()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_and_its_resource_are_one() {
        for path in [
            "/",
            "audit",
            "authorities/internal",
            "authorities/internal/accounts/000102030405060708090a0b0c0d0e0f",
            "identities",
            "identities/spiffe://chancery.test/web",
            "issuers/pebble",
            "policy",
            "vaults/kv-prod",
            "vaults/kv-prod/secrets/a/b/c",
            "vaults/kv-prod/certificates/www",
            "vaults/kv-prod/keys/signing",
        ] {
            assert_eq!(path.parse::<Resource>().unwrap().to_string(), path);
        }
        for bad in [
            "",
            "vaults",
            "vaults/",
            "vaults/kv-prod/",
            "vaults/kv-prod/secrets",
            "vaults/kv-prod/secrets/",
            "vaults/kv-prod/secrets/../x",
            "vaults/kv-prod/tokens/x",
            "vaults/KV/secrets/x",
            "audit/x",
            "/audit",
            "authorities/internal/accounts/",
            "authorities/internal/x",
        ] {
            assert!(bad.parse::<Resource>().is_err(), "{bad:?}");
        }
    }
}
