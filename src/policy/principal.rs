//! Who acts: a workload by its SPIFFE ID, an ACME account by its authority and id, or a part of the service itself.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::role::Role;
use crate::error::{Error, Result};
use crate::id::{Id, Label};

/// The longest SPIFFE ID that everybody must understand, in bytes (SPIFFE-ID §2.3).
const MAX_ID_BYTES: usize = 2048;

/// The longest trust domain name, in bytes (SPIFFE-ID §2.3).
const MAX_TRUST_DOMAIN_BYTES: usize = 255;

/// Names of the service's own parts, as in [`Principal::System`]. What each may do stands in `builtin.cedar`.
pub mod system {
    /// The door of the ACME server: for whoever holds a key and has no account yet, and for what validation finds.
    pub const ACME: &str = "acme";
    /// First start: authorities, first administrator.
    pub const BOOTSTRAP: &str = "bootstrap";
    /// A new administrator when all others are lost, by whoever holds the token's PIN on the host.
    pub const BREAK_GLASS: &str = "break-glass";
    /// The authority's own upkeep: revocation lists.
    pub const CA: &str = "ca";
    /// The door by which a workload without a certificate redeems its join token.
    pub const ENROLLMENT: &str = "enrollment";
    /// Closes what a crash left open.
    pub const RECOVERY: &str = "recovery";
    /// Makes a service again from a backup.
    pub const RESTORE: &str = "restore";
    /// Rotations of secrets.
    pub const ROTATION: &str = "rotation";
    /// Renewals.
    pub const SCHEDULER: &str = "scheduler";
    /// The listener and its own certificate.
    pub const SERVER: &str = "server";
    /// Removes what has expired, and replaces the keys that seal.
    pub const UPKEEP: &str = "upkeep";

    /// All of them.
    pub const ALL: [&str; 11] = [
        ACME,
        BOOTSTRAP,
        BREAK_GLASS,
        CA,
        ENROLLMENT,
        RECOVERY,
        RESTORE,
        ROTATION,
        SCHEDULER,
        SERVER,
        UPKEEP,
    ];
}

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Principal {
    /// Whoever signed a request with the key of this ACME account.
    Account(AcmeAccount),
    /// A workload, a person, a node: whoever holds a certificate with this SPIFFE ID.
    Spiffe(SpiffeId),
    /// A part of the service itself, named in [`system`].
    System(&'static str),
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(account) => write!(f, "acme:{}/{}", account.authority, account.id),
            Self::Spiffe(id) => id.fmt(f),
            Self::System(name) => write!(f, "system:{name}"),
        }
    }
}

/// An account of an authority's ACME server (RFC 8555 §7.1.2). It is known at that authority only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AcmeAccount {
    /// Whose account it is.
    pub authority: Label,
    /// Its id.
    pub id: Id,
    /// What role it has there; without one it does what any account may.
    pub role: Option<Role>,
}

/// A trust domain's name (SPIFFE-ID §2.1): lower case, `a-z 0-9 . - _`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TrustDomain(String);

impl TrustDomain {
    /// The name, without `spiffe://`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The identity with this path (without the leading `/`) in this trust domain.
    ///
    /// # Errors
    /// `Invalid`, if that is no SPIFFE ID.
    pub fn id(&self, path: &str) -> Result<SpiffeId> {
        format!("spiffe://{self}/{path}").parse()
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TrustDomain {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        if is_trust_domain(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::invalid(format!(
                "`{}` is not a trust domain: use 1 to 255 of a-z, 0-9 and `.-_`",
                text.escape_debug()
            )))
        }
    }
}

impl TryFrom<String> for TrustDomain {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<TrustDomain> for String {
    fn from(domain: TrustDomain) -> Self {
        domain.0
    }
}

/// A workload's SPIFFE ID: `spiffe://<trust domain>/<path>`, the path never empty (X509-SVID §4.1 asks that of a
/// leaf).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpiffeId(String);

impl SpiffeId {
    /// The whole id, with `spiffe://`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The trust domain's name.
    pub fn trust_domain(&self) -> &str {
        self.split().0
    }

    /// The path, with its leading `/`.
    pub fn path(&self) -> &str {
        self.split().1
    }

    fn split(&self) -> (&str, &str) {
        split(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SpiffeId {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let good = text.len() <= MAX_ID_BYTES
            && split(text).is_some_and(|(domain, path)| is_trust_domain(domain) && is_path(path));
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::invalid(format!(
                "`{}` is not a workload's SPIFFE ID: use `spiffe://<trust domain>/<path>`, with a-z, 0-9 and `.-_` in \
                 the trust domain, and A-Z, a-z, 0-9 and `.-_` in the path's parts, none of them empty, `.` or `..`",
                text.escape_debug()
            )))
        }
    }
}

impl TryFrom<String> for SpiffeId {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<SpiffeId> for String {
    fn from(id: SpiffeId) -> Self {
        id.0
    }
}

/// Trust domain and path (with its leading `/`).
fn split(id: &str) -> Option<(&str, &str)> {
    let rest = id.strip_prefix("spiffe://")?;
    rest.split_at_checked(rest.find('/')?)
}

fn is_trust_domain(text: &str) -> bool {
    (1..=MAX_TRUST_DOMAIN_BYTES).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_'))
}

fn is_path(text: &str) -> bool {
    text.strip_prefix('/').is_some_and(|path| {
        path.split('/').all(|part| {
            !matches!(part, "" | "." | "..")
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spiffe_id_has_a_trust_domain_and_a_path() {
        let id: SpiffeId = "spiffe://chancery.test/ns/prod/web-1".parse().unwrap();
        assert_eq!(id.trust_domain(), "chancery.test");
        assert_eq!(id.path(), "/ns/prod/web-1");
        let domain: TrustDomain = "chancery.test".parse().unwrap();
        assert_eq!(domain.id("ns/prod/web-1").unwrap(), id);
    }

    #[test]
    fn what_the_standard_forbids_is_refused() {
        let long = format!("spiffe://td/{}", "a".repeat(2048));
        for bad in [
            "",
            "https://td/a",
            "SPIFFE://td/a",
            "spiffe://",
            "spiffe:///a",
            "spiffe://td",
            "spiffe://td/",
            "spiffe://td/a/",
            "spiffe://td//a",
            "spiffe://td/a/../b",
            "spiffe://td/./b",
            "spiffe://td/a%62",
            "spiffe://td/a?x",
            "spiffe://td/a#x",
            "spiffe://td:443/a",
            "spiffe://me@td/a",
            "spiffe://TD/a",
            "spiffe://td/ä",
            "spiffe://td/a b",
            "spiffe://td/a\0",
            &long,
        ] {
            assert!(bad.parse::<SpiffeId>().is_err(), "{bad:?}");
        }
        assert!("a".repeat(256).parse::<TrustDomain>().is_err());
        assert!("a/b".parse::<TrustDomain>().is_err());
    }
}
