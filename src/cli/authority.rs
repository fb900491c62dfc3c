//! `chancery ca list|show|export|issued|revoke|profile`, what stops issuing, and rotation.

mod halt;
mod profile;
mod rotation;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::exit::{Exit, Failure, Result};
use super::inventory::{self, Inventory};
use super::output::Columns;
use super::session::Session;
use crate::id::Label;
use crate::wire;
use crate::x509::pem;

const COLUMNS: Columns = &[
    ("NAME", "name"),
    ("SUBJECT", "subject"),
    ("KEY", "key_type"),
    ("SERIAL", "serial"),
    ("NOT AFTER", "not_after"),
    ("PARENT", "parent"),
    ("PROFILES", "profiles"),
];

/// An authority of ours.
#[derive(Args)]
pub(super) struct OurAuthority {
    /// The authority
    #[arg(id = "authority", long, value_name = "NAME", default_value = "internal")]
    pub(super) name: Label,
}

/// Why something is revoked.
#[derive(Args)]
pub(super) struct Reason {
    /// Why: unspecified, key-compromise, affiliation-changed, superseded or cessation-of-operation
    #[arg(long, value_name = "REASON", default_value_t)]
    reason: wire::RevocationReason,
}

impl Reason {
    pub(super) fn request(&self) -> wire::Revoke {
        wire::Revoke { reason: self.reason }
    }
}

#[derive(Args)]
pub(super) struct Authority {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List our authorities
    #[command(visible_alias = "ls")]
    List,
    /// What is known about an authority
    Show {
        /// Its name
        #[arg(long, value_name = "NAME")]
        name: Label,
        /// Write its certificate only, PEM
        #[arg(long)]
        pem: bool,
    },
    /// Write the certificate of an authority's issuing CA, or of a root by the label of its key
    Export {
        /// Its name
        #[arg(long, value_name = "NAME", default_value = "internal")]
        name: Label,
        /// How: pem or der
        #[arg(long, value_name = "FORMAT", default_value = "pem")]
        format: ExportFormat,
    },
    /// List what an authority issued, newest first: `cert list --issued`
    Issued(Box<Inventory>),
    /// Revoke a certificate that an authority issued, or all certificates of a key
    Revoke {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        authority: OurAuthority,
        #[command(flatten)]
        why: Reason,
    },
    /// Profiles in all their versions
    #[command(subcommand)]
    Profile(profile::Profile),
    #[command(flatten)]
    Halt(halt::Halt),
    #[command(flatten)]
    Rotation(rotation::Rotation),
}

#[derive(Clone, Copy, ValueEnum)]
enum ExportFormat {
    Der,
    Pem,
}

/// What is revoked.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// Its serial, hexadecimal
    #[arg(long, value_name = "SERIAL")]
    serial: Option<String>,
    /// The certificate, PEM, also if the service has lost it; - for stdin
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// All of the key with this SHA-256 of its SPKI, hexadecimal, as compromised
    #[arg(long, value_name = "SHA256")]
    key: Option<String>,
    /// All of the key that signed this request, whose common name is `this key is compromised`; - for stdin
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
}

impl Which {
    async fn revoke(self, session: &Session, authority: Label, why: &Reason) -> Result<()> {
        let client = session.client()?;
        let revoked = match self {
            Self { proof: Some(file), .. } => {
                let csr_pem = session.text_of(&file).await?;
                session
                    .confirm("revoke all certificates of the key that signed this?")
                    .await?;
                client.revoke_proven(&wire::CompromisedKey { csr_pem }).await?
            }
            Self {
                key: Some(spki_sha256), ..
            } => {
                session
                    .confirm(&format!(
                        "revoke all certificates of key `{spki_sha256}` of authority `{authority}`?"
                    ))
                    .await?;
                let shown = wire::RevokeShown::Key { spki_sha256 };
                client.revoke_shown(&authority, &shown).await?
            }
            Self {
                certificate: Some(file),
                ..
            } => {
                let certificate_pem = session.text_of(&file).await?;
                session
                    .confirm(&format!("revoke this certificate of authority `{authority}`?"))
                    .await?;
                let shown = wire::RevokeShown::Certificate {
                    certificate_pem,
                    reason: why.reason,
                };
                client.revoke_shown(&authority, &shown).await?
            }
            Self { serial, .. } => {
                let serial = serial.unwrap_or_default();
                session
                    .confirm(&format!("revoke serial `{serial}` of authority `{authority}`?"))
                    .await?;
                let revoked = client.revoke_issued(&authority, &serial, &why.request()).await?;
                return session.out.one(&revoked, inventory::COLUMNS);
            }
        };
        session.out.one(&revoked, &[("SERIALS", "serials")])
    }
}

impl Authority {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        let client = session.client()?;
        match self.verb {
            Verb::Halt(halt) => halt.run(session).await,
            Verb::Profile(profile) => profile.run(session).await,
            Verb::Rotation(rotation) => rotation.run(session).await,
            Verb::List => session.out.list(&client.authorities().await?, COLUMNS),
            Verb::Show { name, pem } => {
                let authority = client.authority(&name).await?;
                if pem {
                    super::output::write(certificate_of(&authority)?.as_bytes())
                } else {
                    session.out.one(&authority, COLUMNS)
                }
            }
            Verb::Export { name, format } => {
                let authority = client.authority(&name).await?;
                let pem = certificate_of(&authority)?;
                match format {
                    ExportFormat::Der => super::output::write(&pem::der_or_pem(pem::CERTIFICATE, pem.as_bytes())?),
                    ExportFormat::Pem => super::output::write(pem.as_bytes()),
                }
            }
            Verb::Issued(inventory) => inventory.run(session).await,
            Verb::Revoke { which, authority, why } => which.revoke(session, authority.name, &why).await,
        }
    }
}

/// The certificate of an authority that has one.
fn certificate_of(authority: &wire::Authority) -> Result<&str> {
    if authority.certificate_pem.is_empty() {
        let name = &authority.name;
        return Err(Failure::new(
            Exit::Unreachable,
            format!(
                "the authority `{name}` has no certificate yet: `ca rotate --name {name} --watch` says what is awaited, \
                 and a root that is not in the token awaits `ca csr` and `ca import`"
            ),
        ));
    }
    Ok(&authority.certificate_pem)
}
