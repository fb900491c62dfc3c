//! `chancery ca list|show|issued|revoke`.

use clap::{Args, Subcommand};

use super::exit::Result;
use super::output::Columns;
use super::session::Session;
use super::vault::Most;
use crate::id::Label;
use crate::wire;

const COLUMNS: Columns = &[
    ("NAME", "name"),
    ("SUBJECT", "subject"),
    ("KEY", "key_type"),
    ("SERIAL", "serial"),
    ("NOT AFTER", "not_after"),
    ("PARENT", "parent"),
    ("PROFILES", "profiles"),
];

const ISSUED_COLUMNS: Columns = &[
    ("SERIAL", "serial"),
    ("SUBJECT", "subject"),
    ("NAMES", "names"),
    ("PROFILE", "profile"),
    ("STATE", "state"),
    ("NOT AFTER", "not_after"),
    ("REVOKED", "revoked"),
    ("REASON", "reason"),
];

/// An authority of ours.
#[derive(Args)]
pub(super) struct OurAuthority {
    /// The authority
    #[arg(long = "authority", value_name = "NAME", default_value = "internal")]
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
    /// List what an authority issued, newest first
    Issued {
        #[command(flatten)]
        authority: OurAuthority,
        #[command(flatten)]
        most: Most,
    },
    /// Revoke a certificate that an authority issued
    Revoke {
        /// Its serial, hexadecimal
        #[arg(long, value_name = "SERIAL")]
        serial: String,
        #[command(flatten)]
        authority: OurAuthority,
        #[command(flatten)]
        why: Reason,
    },
}

impl Authority {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        let client = session.client()?;
        match self.verb {
            Verb::List => session.out.list(&client.authorities().await?, COLUMNS),
            Verb::Show { name, pem } => {
                let authority = client.authority(&name).await?;
                if pem {
                    super::output::write(authority.certificate_pem.as_bytes())
                } else {
                    session.out.one(&authority, COLUMNS)
                }
            }
            Verb::Issued { authority, most } => {
                let issued = client.issued(&authority.name, most.limit).await?;
                session.out.list(&issued, ISSUED_COLUMNS)
            }
            Verb::Revoke { serial, authority, why } => {
                let authority = authority.name;
                session
                    .confirm(&format!("revoke serial `{serial}` of authority `{authority}`?"))
                    .await?;
                let revoked = client.revoke_issued(&authority, &serial, &why.request()).await?;
                session.out.one(&revoked, ISSUED_COLUMNS)
            }
        }
    }
}
