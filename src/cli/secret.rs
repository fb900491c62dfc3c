//! `chancery secret set|get|show|list|versions|delete|recover`.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};

use super::exit::Result;
use super::input::Source;
use super::output::Columns;
use super::parse;
use super::session::Session;
use super::settings::VaultOption;
use super::vault::Most;
use crate::id::ObjectName;
use crate::wire;

const COLUMNS: Columns = &[
    ("NAME", "name"),
    ("ORDINAL", "ordinal"),
    ("VERSION", "version"),
    ("UPDATED", "updated"),
    ("TYPE", "content_type"),
    ("TAGS", "tags"),
];

const VERSION_COLUMNS: Columns = &[
    ("NAME", "name"),
    ("ORDINAL", "ordinal"),
    ("VERSION", "version"),
    ("CURRENT", "current"),
    ("CREATED", "created"),
    ("BY", "created_by"),
    ("TYPE", "content_type"),
    ("TAGS", "tags"),
];

const DELETED_COLUMNS: Columns = &[
    ("NAME", "name"),
    ("DELETED", "deleted"),
    ("RECOVERABLE UNTIL", "recoverable_until"),
];

#[derive(Args)]
pub(super) struct Secret {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Set a secret's value, from stdin, @FILE or a prompt
    Set(Set),
    /// Write a secret's value, bare
    Get(Get),
    /// What is known about a secret; never its value
    Show(Named),
    /// List a vault's secrets
    #[command(visible_alias = "ls")]
    List(List),
    /// List a secret's versions, newest first
    Versions(Versions),
    /// Delete a secret; it can be recovered for a while
    #[command(visible_alias = "rm")]
    Delete(Named),
    /// Take a deletion back
    Recover(Named),
}

#[derive(Args)]
struct Named {
    /// The secret's name
    #[arg(long, value_name = "NAME")]
    name: ObjectName,
    #[command(flatten)]
    vault: VaultOption,
}

#[derive(Args)]
struct Set {
    #[command(flatten)]
    named: Named,
    /// What the value is, for example text/plain
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// A label of the new version; may be repeated
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = parse::pair)]
    tags: Vec<(String, String)>,
    /// Where the value is: @FILE, or - for stdin (exactly the bytes, a line end at their end too)
    // SECURITY: parsed later, because clap repeats a wrong value in its message, and this one may be the secret.
    #[arg(value_name = "FROM", default_value = "-")]
    from: String,
}

#[derive(Args)]
struct Get {
    #[command(flatten)]
    named: Named,
    /// A version, by ordinal or id; the current one if it is left out
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
}

#[derive(Args)]
struct List {
    #[command(flatten)]
    vault: VaultOption,
    #[command(flatten)]
    most: Most,
}

#[derive(Args)]
struct Versions {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    most: Most,
}

impl Secret {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        match self.verb {
            Verb::Set(set) => set.run(session).await,
            Verb::Get(get) => get.run(session).await,
            Verb::Show(Named { name, vault }) => {
                let vault = session.vault(&vault)?;
                session
                    .out
                    .one(&session.client()?.secret(&vault, &name).await?, COLUMNS)
            }
            Verb::List(List { vault, most }) => {
                let vault = session.vault(&vault)?;
                let secrets = session.client()?.secrets(&vault, most.limit).await?;
                session.out.list(&secrets, COLUMNS)
            }
            Verb::Versions(Versions { named, most }) => {
                let vault = session.vault(&named.vault)?;
                let client = session.client()?;
                let versions = client.secret_versions(&vault, &named.name, most.limit).await?;
                session.out.list(&versions, VERSION_COLUMNS)
            }
            Verb::Delete(Named { name, vault }) => {
                let vault = session.vault(&vault)?;
                let deleted = session.client()?.delete_secret(&vault, &name).await?;
                session.out.one(&deleted, DELETED_COLUMNS)
            }
            Verb::Recover(Named { name, vault }) => {
                let vault = session.vault(&vault)?;
                let secret = session.client()?.recover_secret(&vault, &name).await?;
                session.out.one(&secret, COLUMNS)
            }
        }
    }
}

impl Set {
    async fn run(self, session: &Session) -> Result<()> {
        let from: Source = self.from.parse()?;
        let vault = session.vault(&self.named.vault)?;
        let client = session.client()?;
        let value = from.read(&format!("value of {}", self.named.name)).await?;
        let mut secret = wire::SetSecret::new(&value);
        secret.content_type = self.content_type;
        secret.tags = BTreeMap::from_iter(self.tags);
        let version = client.set_secret(&vault, &self.named.name, &secret).await?;
        session.out.one(&version, VERSION_COLUMNS)
    }
}

impl Get {
    async fn run(self, session: &Session) -> Result<()> {
        let vault = session.vault(&self.named.vault)?;
        let client = session.client()?;
        let value = client
            .secret_value(&vault, &self.named.name, self.version.as_deref())
            .await?;
        session.out.bare(value.bytes()?.expose(), &value)
    }
}
