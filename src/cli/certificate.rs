//! `chancery cert create|list|show|renew|revoke|issue|inspect|lint|audit`.

mod create;
mod inspect;
mod issue;
mod lint;
mod show;

use std::time::Duration;

use clap::{Args, Subcommand};

use super::authority::Reason;
use super::exit::{Failure, Result};
use super::inventory::Inventory;
use super::output::Columns;
use super::parse;
use super::progress::Progress;
use super::session::Session;
use super::settings::VaultOption;
use crate::client::Client;
use crate::clock::{Clock, SystemClock};
use crate::id::{Label, ObjectName};
use crate::wire;

/// How often the service is asked while waiting.
const POLL: Duration = Duration::from_millis(300);

const COLUMNS: Columns = &[
    ("NAME", "name"),
    ("ISSUER", "issuer"),
    ("DNS NAMES", "dns_names"),
    ("ORDINAL", "current.ordinal"),
    ("SERIAL", "current.serial"),
    ("NOT AFTER", "current.not_after"),
    ("REVOKED", "current.revoked"),
    ("RENEWAL", "renewal.state"),
    ("LAST ERROR", "renewal.last_error"),
];

const LIST_COLUMNS: Columns = &[
    ("NAME", "name"),
    ("ISSUER", "issuer"),
    ("DNS NAMES", "dns_names"),
    ("SERIAL", "current.serial"),
    ("NOT AFTER", "current.not_after"),
    ("RENEWAL", "renewal.state"),
];

#[derive(Args)]
pub(super) struct Certificate {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Make a certificate object: ordered from an upstream issuer, renewed, delivered
    Create(Box<create::Create>),
    /// List a vault's certificate objects; or all that was issued, narrowed by whatever is known
    #[command(visible_alias = "ls")]
    List(Box<List>),
    /// What is known about a certificate object; or what a file or a server shows
    Show(show::Show),
    /// Renew a certificate now
    Renew(Renew),
    /// Revoke the current certificate of an object
    Revoke(Revoke),
    /// Have one of our authorities issue, for a request or for a key, and write the chain, leaf first
    Issue(Box<issue::Issue>),
    /// What a file's or a server's certificates say, without the service
    Inspect(inspect::Inspect),
    /// Judge a file's or a server's certificates by the standards, without the service; 7 if one breaks a rule
    Lint(lint::Lint),
    /// Judge everything that an authority stored, here; 7 if one breaks a rule or is not what its row says
    Audit(lint::Audit),
}

/// A certificate object.
#[derive(Args)]
struct Named {
    /// The certificate's name
    #[arg(long, value_name = "NAME")]
    name: ObjectName,
    #[command(flatten)]
    vault: VaultOption,
}

/// Whether to wait for the end.
#[derive(Args)]
struct Wait {
    /// Wait until it is done, seen served where that was asked for, or given up
    #[arg(long)]
    wait: bool,
    /// Wait at most this long
    #[arg(long, value_name = "DURATION", value_parser = parse::duration, default_value = "5m", requires = "wait")]
    timeout: Duration,
}

#[derive(Args)]
struct List {
    #[command(flatten)]
    vault: VaultOption,
    /// What an authority of ours issued or reserved, whoever asked for it, instead of a vault's objects; so does any
    /// option that says which
    #[arg(long)]
    issued: bool,
    #[command(flatten)]
    inventory: Inventory,
}

#[derive(Args)]
struct Renew {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    wait: Wait,
}

#[derive(Args)]
struct Revoke {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    why: Reason,
}

impl Certificate {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        match self.verb {
            Verb::Create(create) => create.run(session).await,
            Verb::List(list) => list.run(session).await,
            Verb::Show(show) => show.run(session).await,
            Verb::Renew(renew) => renew.run(session).await,
            Verb::Revoke(revoke) => revoke.run(session).await,
            Verb::Issue(issue) => issue.run(session).await,
            Verb::Inspect(inspect) => inspect.run(session).await,
            Verb::Lint(lint) => lint.run(session).await,
            Verb::Audit(audit) => audit.run(session).await,
        }
    }
}

impl List {
    async fn run(self, session: &Session) -> Result<()> {
        if self.issued || self.inventory.narrows() {
            return self.inventory.run(session).await;
        }
        let vault = session.vault(&self.vault)?;
        let client = session.client()?;
        let certificates = client.certificates(&vault, self.inventory.limit).await?;
        session.out.list(&certificates, LIST_COLUMNS)
    }
}

impl Renew {
    async fn run(self, session: &Session) -> Result<()> {
        let vault = session.vault(&self.named.vault)?;
        let client = session.client()?;
        let renewal = client.renew_certificate(&vault, &self.named.name).await?;
        self.wait.follow(session, &client, &vault, &renewal).await?;
        let certificate = client.certificate(&vault, &self.named.name).await?;
        session.out.one(&certificate, COLUMNS)
    }
}

impl Wait {
    /// Follows a renewal to its end, if that is wanted.
    async fn follow(&self, session: &Session, client: &Client, vault: &Label, of: &wire::Renewal) -> Result<()> {
        if !self.wait {
            return Ok(());
        }
        let until = SystemClock.now() + self.timeout;
        let mut progress = Progress::new(&session.out);
        let mut renewal = of.clone();
        while !renewal.is_over() {
            progress.now(describe(&renewal));
            if SystemClock.now() >= until {
                return Err(Failure::error(format!(
                    "`{}` is not done after {} s and still under way: see `chancery cert show --vault {vault} --name {}`",
                    renewal.certificate,
                    self.timeout.as_secs(),
                    renewal.certificate
                )));
            }
            SystemClock.sleep(POLL).await;
            renewal = client.renewal(&of.id).await?;
        }
        progress.now(describe(&renewal));
        if renewal.is_failed() {
            return Err(Failure::error(format!(
                "`{}` was given up: {}",
                renewal.certificate,
                renewal.last_error.as_deref().unwrap_or("the service does not say why")
            )));
        }
        Ok(())
    }
}

/// One line on where a renewal is.
fn describe(renewal: &wire::Renewal) -> String {
    let state = format!("{}: {}", renewal.certificate, renewal.state.replace('_', " "));
    match &renewal.last_error {
        Some(error) if renewal.failures > 0 => format!("{state}; failed {} times: {error}", renewal.failures),
        _ => state,
    }
}

impl Revoke {
    async fn run(self, session: &Session) -> Result<()> {
        let vault = session.vault(&self.named.vault)?;
        let client = session.client()?;
        let name = &self.named.name;
        session
            .confirm(&format!(
                "revoke the current certificate of `{name}` in vault `{vault}`?"
            ))
            .await?;
        let certificate = client.revoke_certificate(&vault, name, &self.why.request()).await?;
        session.out.one(&certificate, COLUMNS)
    }
}
