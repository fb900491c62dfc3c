//! `chancery cert show`: an object of a vault, or, without the service, a file's or a server's certificates.

use std::path::Path;

use clap::Args;
use serde::Serialize;

use super::{COLUMNS, VaultOption};
use crate::cli::exit::{Failure, Result};
use crate::cli::output::{self, Columns};
use crate::cli::session::Session;
use crate::client;
use crate::id::ObjectName;
use crate::x509::chain::Facts;
use crate::x509::pem;

const SEEN_COLUMNS: Columns = &[
    ("SUBJECT", "subject"),
    ("NAMES", "names"),
    ("ISSUER", "issuer"),
    ("SERIAL", "serial"),
    ("NOT BEFORE", "not_before"),
    ("NOT AFTER", "not_after"),
    ("CA", "is_ca"),
    ("SHA-256", "fingerprint_sha256"),
];

#[derive(Args)]
#[group(id = "which", required = true, multiple = false, args = ["name", "target"])]
pub(super) struct Show {
    /// The certificate object's name
    #[arg(long, value_name = "NAME")]
    name: Option<ObjectName>,
    #[command(flatten)]
    vault: VaultOption,
    /// Look at this file, or at what this server shows, instead
    #[arg(value_name = "FILE|HOST:PORT")]
    target: Option<String>,
    /// Write the chain only, PEM, leaf first
    #[arg(long)]
    pem: bool,
}

/// A certificate that was seen somewhere. Nothing says that it is trusted.
#[derive(Serialize)]
struct Seen {
    subject: String,
    names: Vec<String>,
    issuer: String,
    serial: String,
    not_before: String,
    not_after: String,
    is_ca: bool,
    fingerprint_sha256: String,
}

impl Show {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        if let Some(target) = &self.target {
            return self.look_at(session, target).await;
        }
        let Some(name) = &self.name else {
            return Err(Failure::usage("say which certificate: --name, a file or host:port"));
        };
        let vault = session.vault(&self.vault)?;
        let client = session.client()?;
        if self.pem {
            let chain = client.certificate_chain(&vault, name).await?;
            return output::write(chain.as_bytes());
        }
        let certificate = client.certificate(&vault, name).await?;
        session.out.one(&certificate, COLUMNS)
    }

    async fn look_at(&self, session: &Session, target: &str) -> Result<()> {
        let chain: Vec<Vec<u8>> = if Path::new(target).exists() || !is_address(target) {
            of_file(target)?
        } else {
            let served = client::served_chain(target).await?;
            served.iter().map(|der| der.to_vec()).collect()
        };
        if self.pem {
            return output::write(pem::encode_chain(&chain).as_bytes());
        }
        let seen: Vec<Seen> = chain
            .iter()
            .map(|der| Facts::read(der).map(Seen::from))
            .collect::<Result<_, _>>()
            .map_err(|e| Failure::error(format!("`{target}` shows no certificate: {e}")))?;
        session.out.list(&seen, SEEN_COLUMNS)
    }
}

impl From<Facts> for Seen {
    fn from(facts: Facts) -> Self {
        Self {
            subject: facts.subject,
            names: facts.names.iter().map(ToString::to_string).collect(),
            issuer: facts.issuer,
            serial: facts.serial,
            not_before: facts.validity.not_before.to_string(),
            not_after: facts.validity.not_after.to_string(),
            is_ca: facts.is_ca,
            fingerprint_sha256: facts.fingerprint,
        }
    }
}

fn is_address(target: &str) -> bool {
    target
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

/// A file's certificates: PEM, or one in DER.
fn of_file(path: &str) -> Result<Vec<Vec<u8>>> {
    let bytes = std::fs::read(path).map_err(|e| Failure::usage(format!("`{path}` cannot be read: {e}")))?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => pem::decode_all(pem::CERTIFICATE, text)
            .map_err(|e| Failure::error(format!("`{path}` holds no certificate: {e}"))),
        Err(_) => Ok(vec![bytes]),
    }
}
