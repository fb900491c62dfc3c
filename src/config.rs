//! The configuration of a server: one TOML file, composed of each room's own `Settings`.
//!
//! Unknown fields are refused with line and column; secrets stand in it by reference only; every field that a later
//! release adds has a usable default, so that an old file starts a new binary.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::acme;
use crate::audit;
use crate::authz;
use crate::ca;
use crate::error::{Error, Result};
use crate::hsm;
use crate::id::Label;
use crate::identity;
use crate::lifecycle;
use crate::policy::TrustDomain;
use crate::store;
use crate::vault;
use crate::x509::hierarchy::Place;

/// What a server needs to know.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The name of this node; it names the node's audit log.
    #[serde(default = "default_node")]
    pub node: Label,
    /// The DNS zone that the service answers for; also its SPIFFE trust domain.
    pub zone: TrustDomain,
    /// The TLS listener.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// Names and addresses, beside the zone and the listener's address, that the listener's certificate covers.
    #[serde(default)]
    pub listen_names: Vec<String>,
    /// The plain-HTTP listener: ACME challenges and revocation lists.
    #[serde(default = "default_http")]
    pub http: SocketAddr,
    /// Where others reach the plain-HTTP listener; stands in certificates. Without it, `http://<zone>`.
    #[serde(default)]
    pub http_url: Option<String>,
    /// The listener for metrics, if they are wanted. Bind it to an address that strangers do not reach.
    #[serde(default)]
    pub metrics: Option<SocketAddr>,
    /// Where the first administrator's join token is written, once; else it is printed.
    #[serde(default)]
    pub first_token_file: Option<PathBuf>,
    /// Variables that the PKCS#11 module reads from its environment, for example `SOFTHSM2_CONF`.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Bounds of each listener's connections.
    #[serde(default)]
    pub connections: Connections,
    /// The store.
    pub store: store::Settings,
    /// The token.
    pub hsm: hsm::Settings,
    /// The ACME server; there is none without it.
    #[serde(default)]
    pub acme: Option<acme::Settings>,
    /// The audit log.
    #[serde(default)]
    pub audit: audit::Settings,
    /// The authority.
    #[serde(default)]
    pub ca: ca::Settings,
    /// Who is calling, and how identities are had.
    #[serde(default)]
    pub identity: identity::Settings,
    /// Renewals.
    #[serde(default)]
    pub lifecycle: lifecycle::Settings,
    /// Policies that an operator wrote.
    #[serde(default)]
    pub policy: authz::Settings,
    /// Vaults.
    #[serde(default)]
    pub vault: vault::Settings,
    /// Those by whom secrets may be rotated.
    #[serde(default)]
    pub rotator: Vec<vault::RotatorSettings>,
}

/// Bounds of a listener's connections.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Connections {
    /// How many it holds; fewer if the process may not open so many files.
    pub most: u32,
    /// How many of them may come from one address (IPv6: one /64). Behind a proxy all do.
    pub most_per_source: u32,
    /// One that carries nothing for so many seconds is closed. More than the minute that a request may take.
    pub idle_s: u64,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            most: 8_192,
            most_per_source: 2_048,
            idle_s: 180,
        }
    }
}

fn default_node() -> Label {
    "node1".parse().unwrap_or_else(|_| unreachable!("a constant label"))
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 8443))
}

fn default_http() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 8080))
}

impl Config {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// `Invalid`, with line and column, if it is no configuration.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| {
            Error::invalid(format!("the configuration `{}` cannot be read: {e}", path.display())).because(e)
        })?;
        Self::parse(&text).map_err(|e| Error::invalid(format!("in `{}`: {e}", path.display())))
    }

    /// Parses and checks a configuration.
    ///
    /// # Errors
    /// `Invalid`, with line and column.
    pub fn parse(text: &str) -> Result<Self> {
        // SECURITY: the parser's own text shows the line, which may hold a secret that somebody wrote there.
        let config: Self = toml::from_str(text).map_err(|e| {
            let before = e.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            Error::invalid(format!("line {line}, column {column}: {}", e.message()))
        })?;
        if config.audit.journal.is_none() && config.store.url.starts_with("sqlite:") {
            return Err(Error::invalid(
                "`audit.journal` is missing: name a folder for the audit log (only nodes on PostgreSQL may keep it in \
                 the database)",
            ));
        }
        Ok(config)
    }
}

impl Config {
    /// Checks what a file of its own, or a secret, says: everything short of opening token, store and ports.
    ///
    /// # Errors
    /// `Invalid`, naming what is wrong and where.
    pub fn check(&self) -> Result<()> {
        self.hsm.pin.read()?;
        self.ca.hierarchy(self.place(self.http))?;
        self.ca.profiles()?;
        self.ca.known_keys()?;
        self.policy.files()?;
        self.ca.limits.check()?;
        self.identity.check()?;
        self.audit.check()?;
        vault::Rotators::configured(&self.rotator)?;
        if let Some(acme) = &self.acme {
            acme.check()?;
        }
        if !self.hsm.module.exists() {
            return Err(Error::invalid(format!(
                "the PKCS#11 module `{}` is not there: install it (Debian: `apt install softhsm2`) or correct `hsm.module`",
                self.hsm.module.display()
            )));
        }
        Ok(())
    }

    /// What certificates say of this service; `http` is where its plain-HTTP listener is.
    pub fn place(&self, http: SocketAddr) -> Place {
        Place {
            zone: self.zone.to_string(),
            http: self.http_url.clone().unwrap_or_else(|| match http.port() {
                80 => format!("http://{}", self.zone),
                port => format!("http://{}:{port}", self.zone),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALLEST: &str = r#"
        zone = "chancery.test"
        [store]
        url = "sqlite:/var/lib/chancery/chancery.db"
        [hsm]
        module = "/usr/lib/softhsm/libsofthsm2.so"
        token_label = "chancery"
        pin = { file = "/etc/chancery/pin" }
        [audit]
        journal = "/var/lib/chancery/audit"
    "#;

    #[test]
    fn the_smallest_configuration_has_usable_defaults() {
        let config = Config::parse(SMALLEST).unwrap();
        assert_eq!(config.node.as_str(), "node1");
        assert_eq!(config.listen.port(), 8443);
        assert_eq!(config.place(config.http).http, "http://chancery.test:8080");
    }

    #[test]
    fn an_unknown_field_is_refused_with_its_line() {
        let error = Config::parse(&SMALLEST.replace("token_label", "tokenlabel")).unwrap_err();
        assert!(error.public().contains("line 7"), "{error}");
        assert!(error.public().contains("tokenlabel"), "{error}");
    }

    #[test]
    fn a_secret_itself_is_refused_and_not_repeated() {
        let error = Config::parse(&SMALLEST.replace(r#"{ file = "/etc/chancery/pin" }"#, "\"73018\"")).unwrap_err();
        assert!(error.public().contains("line 8"), "{error}");
        assert!(!error.public().contains("73018"), "{error}");
    }

    #[test]
    fn sqlite_without_a_journal_is_refused() {
        let text = SMALLEST.split("[audit]").next().unwrap();
        let error = Config::parse(text).unwrap_err();
        assert!(error.public().contains("audit.journal"), "{error}");
        let postgres = text.replace(
            "sqlite:/var/lib/chancery/chancery.db",
            "postgres://chancery@db/chancery",
        );
        assert!(Config::parse(&postgres).is_ok());
    }
}
