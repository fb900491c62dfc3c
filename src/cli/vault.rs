//! `chancery vault create|list|show`.

use clap::{Args, Subcommand};

use super::exit::Result;
use super::output::Columns;
use super::session::Session;
use crate::id::Label;

const COLUMNS: Columns = &[("NAME", "name"), ("CREATED", "created")];

#[derive(Args)]
pub(super) struct Vault {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Make a vault
    Create(Named),
    /// List the vaults that you may see
    #[command(visible_alias = "ls")]
    List(Most),
    /// What is known about a vault
    Show(Named),
}

#[derive(Args)]
struct Named {
    /// Its name, a DNS label
    #[arg(long, value_name = "NAME")]
    name: Label,
}

/// How much of a list.
#[derive(Args)]
pub(super) struct Most {
    /// At most this many; all if it is left out
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<usize>,
}

impl Vault {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        let client = session.client()?;
        match self.verb {
            Verb::Create(Named { name }) => session.out.one(&client.create_vault(name).await?, COLUMNS),
            Verb::List(Most { limit }) => session.out.list(&client.vaults(limit).await?, COLUMNS),
            Verb::Show(Named { name }) => session.out.one(&client.vault(&name).await?, COLUMNS),
        }
    }
}
