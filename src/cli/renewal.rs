//! `chancery renewal list|show`.

use clap::{Args, Subcommand};

use super::exit::Result;
use super::output::Columns;
use super::session::Session;
use super::vault::Most;

const COLUMNS: Columns = &[
    ("ID", "id"),
    ("VAULT", "vault"),
    ("CERTIFICATE", "certificate"),
    ("ISSUER", "issuer"),
    ("STATE", "state"),
    ("DUE", "due"),
    ("UPDATED", "updated"),
    ("FAILURES", "failures"),
    ("NEXT ATTEMPT", "next_attempt"),
    ("SERIAL", "serial"),
    ("LAST ERROR", "last_error"),
];

const LIST_COLUMNS: Columns = &[
    ("ID", "id"),
    ("CERTIFICATE", "certificate"),
    ("STATE", "state"),
    ("DUE", "due"),
    ("FAILURES", "failures"),
    ("SERIAL", "serial"),
];

#[derive(Args)]
pub(super) struct Renewal {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List renewals, newest first
    #[command(visible_alias = "ls")]
    List(Most),
    /// What is known about a renewal
    Show {
        /// Its id
        #[arg(long, value_name = "ID")]
        id: String,
    },
}

impl Renewal {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        let client = session.client()?;
        match self.verb {
            Verb::List(Most { limit }) => session.out.list(&client.renewals(limit).await?, LIST_COLUMNS),
            Verb::Show { id } => session.out.one(&client.renewal(&id).await?, COLUMNS),
        }
    }
}
