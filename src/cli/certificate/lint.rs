//! `chancery cert lint`, of a file or a server, and `chancery cert audit`, of everything that an authority stored.
//!
//! The audit trusts nothing that the service says: it fetches the stored bytes and judges them here.

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;

use super::inspect;
use crate::cli::authority::OurAuthority;
use crate::cli::exit::{Exit, Failure, Result};
use crate::cli::output::Columns;
use crate::cli::progress::Progress;
use crate::cli::session::Session;
use crate::wire;
use crate::x509::X509Error;
use crate::x509::chain::{Facts, Issuer};
use crate::x509::lint::{self, Finding};
use crate::x509::pem;

const COLUMNS: Columns = &[
    ("SERIAL", "serial"),
    ("SUBJECT", "subject"),
    ("RULE", "rule"),
    ("LINT", "lint"),
    ("FINDING", "finding"),
];

/// What is wrong with one certificate.
#[derive(Serialize)]
struct Found {
    serial: String,
    subject: String,
    rule: String,
    lint: String,
    finding: String,
}

impl Found {
    fn of(facts: &Facts, finding: Finding) -> Self {
        Self {
            serial: facts.serial.clone(),
            subject: facts.subject.clone(),
            rule: finding.rule.to_owned(),
            lint: finding.lint.to_owned(),
            finding: finding.text,
        }
    }

    fn mismatch(serial: &str, subject: &str, lint: &str, finding: String) -> Self {
        Self {
            serial: serial.to_owned(),
            subject: subject.to_owned(),
            rule: "store".to_owned(),
            lint: lint.to_owned(),
            finding,
        }
    }
}

/// Writes the findings; ends with 7 if there are any.
fn conclude(session: &Session, found: &[Found], certificates: usize) -> Result<()> {
    session.out.list(found, COLUMNS)?;
    if found.is_empty() {
        session.out.say(&format!("{certificates} certificates keep the rules"));
        return Ok(());
    }
    Err(Failure::new(
        Exit::CheckFailed,
        format!("{} findings in {certificates} certificates", found.len()),
    ))
}

#[derive(Args)]
pub(super) struct Lint {
    /// A file of certificates, leaf first, or a TLS server
    #[arg(value_name = "FILE|HOST:PORT")]
    target: String,
}

impl Lint {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        let chain = inspect::chain_of(&self.target).await?;
        let mut found = Vec::new();
        for (at, der) in chain.iter().enumerate() {
            let facts =
                Facts::read(der).map_err(|e| Failure::error(format!("`{}` shows no certificate: {e}", self.target)))?;
            // One that we could not read as an issuer says nothing about what is below it.
            let issuer = chain.get(at + 1).and_then(|above| Issuer::read(above).ok());
            let findings = lint::foreign(der, issuer.as_ref())?;
            found.extend(findings.into_iter().map(|finding| Found::of(&facts, finding)));
        }
        conclude(session, &found, chain.len())
    }
}

#[derive(Args)]
pub(super) struct Audit {
    #[command(flatten)]
    authority: OurAuthority,
}

impl Audit {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        let client = session.client()?;
        let mut issuers = BTreeMap::new();
        let authorities = client.authorities().await?;
        // One whose certificate is awaited has issued nothing.
        for authority in authorities.iter().filter(|it| !it.certificate_pem.is_empty()) {
            for der in pem::decode_all(pem::CERTIFICATE, &authority.certificate_pem)? {
                let issuer = Issuer::read(&der)?;
                issuers.insert(hex::encode(issuer.key_id()), issuer);
            }
        }
        let progress = Progress::new(&session.out);
        let (mut found, mut count, mut cursor) = (Vec::new(), 0, None);
        loop {
            let page = client.stored(&self.authority.name, cursor).await?;
            for stored in &page.items {
                count += 1;
                judge(stored, &issuers, &mut found);
            }
            progress.passing(&format!("{count} certificates"));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        drop(progress);
        conclude(session, &found, count)
    }
}

/// Judges one stored certificate: that it is what its row says, that its issuer signed it, and the lints.
fn judge(stored: &wire::StoredCertificate, issuers: &BTreeMap<String, Issuer>, found: &mut Vec<Found>) {
    let read = pem::decode_all(pem::CERTIFICATE, &stored.certificate_pem)
        .map(|blocks| blocks.into_iter().next().unwrap_or_default())
        .and_then(|der| Facts::read(&der).map(|facts| (der, facts)));
    let (der, facts) = match read {
        Ok(read) => read,
        Err(e) => {
            return found.push(Found::mismatch(
                &stored.serial,
                "",
                "certificate_is_readable",
                e.to_string(),
            ));
        }
    };
    let mut differs = |lint: &str, what: &str| {
        let text = format!("the certificate's {what} is not what its row says");
        found.push(Found::mismatch(&stored.serial, &facts.subject, lint, text));
    };
    if facts.serial != stored.serial {
        differs("serial_is_the_rows", "serial");
    }
    if facts.spki_sha256 != stored.spki_sha256 {
        differs("key_is_the_rows", "key");
    }
    // Rows name the kind of each name: `dns:a.test`.
    let named = |(row, name): (&String, String)| row.split_once(':').is_some_and(|(_, text)| name.ends_with(text));
    let names = facts.names.iter().map(ToString::to_string);
    if facts.names.len() != stored.names.len() || !stored.names.iter().zip(names).all(named) {
        differs("names_are_the_rows", "list of names");
    }
    let own = facts.key_id.is_some() && facts.key_id == facts.issuer_key_id;
    let issuer = facts.issuer_key_id.as_ref().and_then(|id| issuers.get(id));
    let Some(issuer) = issuer else {
        let text = format!("no authority shows the certificate of its issuer `{}`", stored.issuer);
        return found.push(Found::mismatch(&stored.serial, &facts.subject, "issuer_is_known", text));
    };
    if let Err(e) = issuer.verify(&der) {
        found.push(Found::mismatch(
            &stored.serial,
            &facts.subject,
            "issuer_signed_it",
            e.to_string(),
        ));
    }
    match lint::certificate(&der, (!own).then_some(issuer)) {
        Ok(()) => {}
        Err(X509Error::Lint(findings)) => {
            found.extend(findings.into_iter().map(|finding| Found::of(&facts, finding)));
        }
        Err(e) => found.push(Found::mismatch(
            &stored.serial,
            &facts.subject,
            "certificate_is_der",
            e.to_string(),
        )),
    }
}
