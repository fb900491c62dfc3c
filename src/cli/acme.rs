//! `chancery acme account list|show|update|deactivate` and `chancery acme eab create|list|delete`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::authority::OurAuthority;
use super::exit::Result;
use super::output::Columns;
use super::parse;
use super::session::Session;
use super::vault::Most;
use crate::wire;

const ACCOUNT_COLUMNS: Columns = &[
    ("ID", "id"),
    ("STATUS", "status"),
    ("CONTACT", "contact"),
    ("IDENTITY", "identity"),
    ("ROLE", "role"),
    ("ALLOW", "allow"),
    ("DENY", "deny"),
    ("TRUSTED", "trusted"),
    ("CREATED", "created"),
];

const KEY_COLUMNS: Columns = &[
    ("KID", "kid"),
    ("IDENTITY", "identity"),
    ("ROLE", "role"),
    ("ALLOW", "allow"),
    ("DENY", "deny"),
    ("TRUSTED", "trusted"),
    ("REUSABLE", "reusable"),
    ("USED", "used"),
    ("EXPIRES", "expires"),
];

const NEW_KEY_COLUMNS: Columns = &[("KID", "kid"), ("HMAC KEY", "hmac_key"), ("EXPIRES", "expires")];

#[derive(Args)]
pub(super) struct Acme {
    #[command(subcommand)]
    noun: Noun,
}

#[derive(Subcommand)]
enum Noun {
    /// Accounts of the ACME server, and the names that they may ask for
    #[command(subcommand)]
    Account(Account),
    /// Keys by which new accounts are bound to an identity: external account binding
    #[command(subcommand)]
    Eab(Eab),
}

#[derive(Subcommand)]
enum Account {
    /// End an account; its certificates stay
    Deactivate(Which),
    /// List accounts
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        authority: OurAuthority,
        #[command(flatten)]
        most: Most,
    },
    /// What is known about an account
    Show(Which),
    /// Say which names an account may ask for; what is left out stays
    Update(Update),
}

#[derive(Args)]
struct Which {
    /// The account's id, which its URL ends in
    #[arg(long, value_name = "ID")]
    id: String,
    #[command(flatten)]
    authority: OurAuthority,
}

#[derive(Args)]
struct Update {
    #[command(flatten)]
    which: Which,
    /// The only names that it may ask for: a.test, *.a.test for all below it, or a network; all if it is empty
    #[arg(long, value_name = "NAME,..", value_delimiter = ',', num_args = 0..)]
    allow: Option<Vec<String>>,
    /// Names that it may not ask for; none if it is empty
    #[arg(long, value_name = "NAME,..", value_delimiter = ',', num_args = 0..)]
    deny: Option<Vec<String>>,
    /// Whether it need show nothing for names that are allowed
    #[arg(long, value_name = "BOOL")]
    trusted: Option<bool>,
    /// Its holder has agreed to the terms of service that are in force
    #[arg(long)]
    terms_agreed: bool,
}

#[derive(Subcommand)]
enum Eab {
    /// Make a key; its value is shown this once
    Create(Create),
    /// Delete a key; accounts that were made with it stay
    Delete {
        /// The key's id
        #[arg(long, value_name = "KID")]
        kid: String,
        #[command(flatten)]
        authority: OurAuthority,
    },
    /// List keys
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        authority: OurAuthority,
        #[command(flatten)]
        most: Most,
    },
}

#[derive(Args)]
struct Create {
    /// Whose the accounts are: the SPIFFE ID of a registered identity
    #[arg(long, value_name = "SPIFFE_ID")]
    identity: String,
    #[command(flatten)]
    authority: OurAuthority,
    /// The role that the accounts have there, and nothing beside it: acme-client or acme-requester, which revokes nothing
    /// and keeps its key; without it they do what any account may
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// The only names that they may ask for: a.test, *.a.test for all below it, or a network
    #[arg(long, value_name = "NAME,..", value_delimiter = ',')]
    allow: Vec<String>,
    /// Names that they may not ask for
    #[arg(long, value_name = "NAME,..", value_delimiter = ',')]
    deny: Vec<String>,
    /// They need show nothing for names that are allowed
    #[arg(long, requires = "allow")]
    trusted: bool,
    /// More than one account may be made with it
    #[arg(long)]
    reusable: bool,
    /// For how long accounts may be made with it; for good if it is left out
    #[arg(long = "for", value_name = "DURATION", value_parser = parse::duration)]
    lasts: Option<Duration>,
}

impl Acme {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        match self.noun {
            Noun::Account(account) => account.run(session).await,
            Noun::Eab(eab) => eab.run(session).await,
        }
    }
}

impl Account {
    async fn run(self, session: &Session) -> Result<()> {
        let client = session.client()?;
        let account = match self {
            Self::List { authority, most } => {
                let accounts = client.acme_accounts(&authority.name, most.limit).await?;
                return session.out.list(&accounts, ACCOUNT_COLUMNS);
            }
            Self::Show(Which { id, authority }) => client.acme_account(&authority.name, &id).await?,
            Self::Update(Update {
                which: Which { id, authority },
                allow,
                deny,
                trusted,
                terms_agreed,
            }) => {
                let update = wire::UpdateAcmeAccount {
                    allow,
                    deny,
                    trusted,
                    terms_agreed,
                };
                client.update_acme_account(&authority.name, &id, &update).await?
            }
            Self::Deactivate(Which { id, authority }) => {
                session
                    .confirm(&format!("end the account `{id}`, for good, with its open orders?"))
                    .await?;
                client.deactivate_acme_account(&authority.name, &id).await?
            }
        };
        session.out.one(&account, ACCOUNT_COLUMNS)
    }
}

impl Eab {
    async fn run(self, session: &Session) -> Result<()> {
        let client = session.client()?;
        match self {
            Self::Create(create) => {
                let asked = wire::CreateExternalKey {
                    identity: create.identity,
                    allow: create.allow,
                    deny: create.deny,
                    trusted: create.trusted,
                    role: create.role,
                    reusable: create.reusable,
                    ttl_s: create.lasts.map(|lasts| lasts.as_secs()),
                };
                let key = client.create_external_key(&create.authority.name, &asked).await?;
                session
                    .out
                    .say("the key's value is not shown again: give it to the client now");
                session.out.one(&key, NEW_KEY_COLUMNS)
            }
            Self::List { authority, most } => {
                let keys = client.external_keys(&authority.name, most.limit).await?;
                session.out.list(&keys, KEY_COLUMNS)
            }
            Self::Delete { kid, authority } => {
                client.delete_external_key(&authority.name, &kid).await?;
                session.out.say(&format!("external account key `{kid}` is deleted"));
                Ok(())
            }
        }
    }
}
