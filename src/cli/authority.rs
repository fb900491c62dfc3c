//! `chancery ca list|show`.

use clap::{Args, Subcommand};

use super::exit::Result;
use super::output::Columns;
use super::session::Session;
use crate::id::Label;

const COLUMNS: Columns = &[
    ("NAME", "name"),
    ("SUBJECT", "subject"),
    ("KEY", "key_type"),
    ("SERIAL", "serial"),
    ("NOT AFTER", "not_after"),
    ("PARENT", "parent"),
    ("PROFILES", "profiles"),
];

#[derive(Args)]
pub(super) struct Authority {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List the service's own authorities
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
        }
    }
}
