//! What a file holds or a server shows, without the service: `chancery cert inspect`, and `cert show` of a target.

use std::path::Path;

use clap::Args;

use crate::cli::exit::{Failure, Result};
use crate::cli::output::{self, Columns};
use crate::cli::session::Session;
use crate::client;
use crate::x509::inspect::Certificate;
use crate::x509::pem;

const COLUMNS: Columns = &[
    ("SUBJECT", "subject"),
    ("NAMES", "names"),
    ("ISSUER", "issuer"),
    ("SERIAL", "serial"),
    ("NOT BEFORE", "not_before"),
    ("NOT AFTER", "not_after"),
    ("CA", "is_ca"),
    ("SHA-256", "fingerprint_sha256"),
];

const DETAIL_COLUMNS: Columns = &[
    ("SUBJECT", "subject"),
    ("NAMES", "names"),
    ("ISSUER", "issuer"),
    ("ISSUED BY THE NEXT", "issued_by_next"),
    ("SERIAL", "serial"),
    ("NOT BEFORE", "not_before"),
    ("NOT AFTER", "not_after"),
    ("KEY", "key"),
    ("SIGNATURE", "signature_algorithm"),
    ("CA", "is_ca"),
    ("PATH LENGTH", "path_length"),
    ("KEY USAGES", "key_usages"),
    ("EXTENDED KEY USAGES", "extended_key_usages"),
    ("POLICIES", "policies"),
    ("CRL", "crl_urls"),
    ("OCSP", "ocsp_urls"),
    ("ISSUER'S CERTIFICATE", "issuer_urls"),
    ("KEY ID", "key_id"),
    ("ISSUER'S KEY ID", "issuer_key_id"),
    ("SPKI SHA-256", "spki_sha256"),
    ("SHA-256", "fingerprint_sha256"),
];

/// A file, or a server that shows its chain to anybody.
#[derive(Args)]
pub(super) struct Inspect {
    /// A file of certificates, or a TLS server
    #[arg(value_name = "FILE|HOST:PORT")]
    target: String,
    /// Write the chain only, PEM, leaf first
    #[arg(long)]
    pem: bool,
}

impl Inspect {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        show(session, &self.target, self.pem, DETAIL_COLUMNS).await
    }
}

/// The same with the columns of a list.
pub(super) async fn brief(session: &Session, target: &str, as_pem: bool) -> Result<()> {
    show(session, target, as_pem, COLUMNS).await
}

async fn show(session: &Session, target: &str, as_pem: bool, columns: Columns) -> Result<()> {
    let chain = chain_of(target).await?;
    if as_pem {
        return output::write(pem::encode_chain(&chain).as_bytes());
    }
    let seen: Vec<Certificate> =
        Certificate::read_all(&chain).map_err(|e| Failure::error(format!("`{target}` shows no certificate: {e}")))?;
    if columns == DETAIL_COLUMNS && session.out.is_table() {
        // One after the other: no terminal is that wide.
        return seen.iter().try_for_each(|one| session.out.one(one, columns));
    }
    session.out.list(&seen, columns)
}

/// The chain that a file holds (PEM, or one certificate in DER) or a server shows.
pub(super) async fn chain_of(target: &str) -> Result<Vec<Vec<u8>>> {
    if Path::new(target).exists() || !is_address(target) {
        return of_file(target);
    }
    let served = client::served_chain(target).await?;
    Ok(served.iter().map(|der| der.to_vec()).collect())
}

fn is_address(target: &str) -> bool {
    target
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

fn of_file(path: &str) -> Result<Vec<Vec<u8>>> {
    let bytes = std::fs::read(path).map_err(|e| Failure::usage(format!("`{path}` cannot be read: {e}")))?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => pem::decode_all(pem::CERTIFICATE, text)
            .map_err(|e| Failure::error(format!("`{path}` holds no certificate: {e}"))),
        Err(_) => Ok(vec![bytes]),
    }
}
