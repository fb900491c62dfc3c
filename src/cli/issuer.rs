//! `chancery issuer create|list|show`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::exit::Result;
use super::output::Columns;
use super::session::Session;
use super::vault::Most;
use crate::id::Label;
use crate::wire;

const COLUMNS: Columns = &[
    ("NAME", "name"),
    ("DIRECTORY", "directory"),
    ("ACCOUNT", "account"),
    ("CONTACTS", "contacts"),
    ("CREATED", "created"),
];

#[derive(Args)]
pub(super) struct Issuer {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Make an upstream issuer; its account is registered on first use
    Create(Create),
    /// List upstream issuers
    #[command(visible_alias = "ls")]
    List(Most),
    /// What is known about an issuer
    Show(Named),
}

#[derive(Args)]
struct Named {
    /// Its name
    #[arg(long, value_name = "NAME")]
    name: Label,
}

#[derive(Args)]
struct Create {
    #[command(flatten)]
    named: Named,
    /// The ACME directory
    #[arg(long, value_name = "URL")]
    directory: String,
    /// Roots to trust for the directory's own TLS, PEM; the system's if it is left out
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// A contact for the account, for example mailto:ops@example.org; may be repeated
    #[arg(long = "contact", value_name = "URL")]
    contacts: Vec<String>,
}

impl Issuer {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        let client = session.client()?;
        match self.verb {
            Verb::Create(create) => {
                let ca_pem = match &create.ca_file {
                    Some(path) => Some(session.text_of(path).await?),
                    None => None,
                };
                let issuer = wire::CreateIssuer {
                    name: create.named.name,
                    directory: create.directory,
                    ca_pem,
                    contacts: create.contacts,
                };
                session.out.one(&client.create_issuer(&issuer).await?, COLUMNS)
            }
            Verb::List(Most { limit }) => session.out.list(&client.issuers(limit).await?, COLUMNS),
            Verb::Show(Named { name }) => session.out.one(&client.issuer(&name).await?, COLUMNS),
        }
    }
}
