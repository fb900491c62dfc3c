//! `chancery vault create|list|show|update|delete|recover|purge|rekey`.

mod rekey;

use std::collections::BTreeMap;

use clap::{Args, Subcommand};

use super::exit::Result;
use super::output::Columns;
use super::parse;
use super::session::Session;
use crate::id::Label;
use crate::wire;

// Scripts count the columns: new ones come last.
const COLUMNS: Columns = &[
    ("NAME", "name"),
    ("CREATED", "created"),
    ("RETENTION DAYS", "retention_days"),
    ("PURGE PROTECTION", "purge_protection"),
    ("TAGS", "tags"),
    ("REVISION", "revision"),
    ("DELETED", "deleted"),
    ("RECOVERABLE UNTIL", "recoverable_until"),
];

#[derive(Args)]
pub(super) struct Vault {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Make a vault
    Create(Create),
    /// List the vaults that you may see
    #[command(visible_alias = "ls")]
    List(List),
    /// What is known about a vault
    Show(Named),
    /// Change a vault: tags, retention, purge protection
    Update(Update),
    /// Delete a vault with all that is in it; it can be recovered for a while
    #[command(visible_alias = "rm")]
    Delete(Named),
    /// Take a deletion back
    Recover(Named),
    /// Remove a deleted vault for good, with all that was in it
    Purge(Named),
    /// Replace the keys that seal what is stored, while everything goes on
    Rekey(rekey::Rekey),
}

#[derive(Args)]
struct Named {
    /// Its name, a DNS label
    #[arg(long, value_name = "NAME")]
    name: Label,
}

#[derive(Args)]
struct Create {
    #[command(flatten)]
    named: Named,
    /// For how many days what is deleted can be recovered, 7 to 90; 90 if it is left out
    #[arg(long, value_name = "DAYS")]
    retention_days: Option<u32>,
    /// Nobody may remove before that what is deleted. This cannot be switched off
    #[arg(long)]
    purge_protection: bool,
    /// A note beside it; may be repeated
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = parse::pair)]
    tags: Vec<(String, String)>,
}

#[derive(Args)]
struct List {
    /// Those that are deleted and can be recovered
    #[arg(long)]
    deleted: bool,
    #[command(flatten)]
    most: Most,
}

#[derive(Args)]
struct Update {
    #[command(flatten)]
    named: Named,
    /// For how many days what is deleted from now on can be recovered, 7 to 90
    #[arg(long, value_name = "DAYS")]
    retention_days: Option<u32>,
    /// Nobody may remove before that what is deleted. This cannot be switched off
    #[arg(long)]
    purge_protection: bool,
    /// A note; may be repeated. These replace all that it has
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = parse::pair)]
    tags: Vec<(String, String)>,
    /// Only if the vault is at this revision
    #[arg(long, value_name = "N")]
    if_revision: Option<u64>,
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
            Verb::Create(create) => {
                let vault = wire::CreateVault {
                    name: create.named.name,
                    tags: BTreeMap::from_iter(create.tags),
                    retention_days: create.retention_days,
                    purge_protection: create.purge_protection,
                };
                session.out.one(&client.create_vault(&vault).await?, COLUMNS)
            }
            Verb::List(List { deleted, most }) => {
                let vaults = match deleted {
                    true => client.deleted_vaults(most.limit).await?,
                    false => client.vaults(most.limit).await?,
                };
                session.out.list(&vaults, COLUMNS)
            }
            Verb::Show(Named { name }) => session.out.one(&client.vault(&name).await?, COLUMNS),
            Verb::Update(update) => {
                let change = wire::UpdateVault {
                    tags: (!update.tags.is_empty()).then(|| BTreeMap::from_iter(update.tags)),
                    retention_days: update.retention_days,
                    purge_protection: update.purge_protection.then_some(true),
                };
                let name = update.named.name;
                let vault = client.update_vault(&name, &change, update.if_revision).await?;
                session.out.one(&vault, COLUMNS)
            }
            Verb::Delete(Named { name }) => session.out.one(&client.delete_vault(&name).await?, COLUMNS),
            Verb::Recover(Named { name }) => session.out.one(&client.recover_vault(&name).await?, COLUMNS),
            Verb::Purge(Named { name }) => {
                session
                    .confirm(&format!("remove the vault `{name}` for good, with all that was in it?"))
                    .await?;
                Ok(client.purge_vault(&name).await?)
            }
            Verb::Rekey(rekey) => rekey.run(session).await,
        }
    }
}
