//! `chancery secret rotation set|show|remove` and `chancery secret rotate`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::Named;
use crate::cli::exit::Result;
use crate::cli::output::Columns;
use crate::cli::parse;
use crate::cli::session::Session;
use crate::id::Label;
use crate::wire;

const COLUMNS: Columns = &[
    ("NAME", "name"),
    ("STATE", "state"),
    ("STEP", "step"),
    ("NEXT", "next"),
    ("ROTATED", "rotated"),
    ("ROTATOR", "rotator"),
    ("EVERY S", "every_s"),
    ("CRON", "cron"),
    ("WINDOW S", "window_s"),
    ("VERSION", "version"),
    ("FAILURES", "failures"),
    ("LAST ERROR", "last_error"),
];

#[derive(Args)]
pub(super) struct Rotation {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Say how a secret is rotated
    Set(Set),
    /// How a secret is rotated, and how far its rotation has come
    #[command(visible_alias = "status")]
    Show(Named),
    /// Rotate a secret no more; a version that is pending stays
    Remove(Named),
}

#[derive(Args)]
#[command(
    after_help = "Example:\n  chancery secret rotation set --name db/password --every 30d --rotator db --length 24"
)]
struct Set {
    #[command(flatten)]
    named: Named,
    /// The rotator, as the service's configuration calls it
    #[arg(long, value_name = "ROTATOR")]
    rotator: Label,
    /// How long from one rotation to the next, for example 30d
    #[arg(long, value_name = "DURATION", value_parser = parse::duration, required_unless_present = "cron")]
    every: Option<Duration>,
    /// When, as crontab(5) writes it, in UTC: five fields, or a name like @weekly
    #[arg(long, value_name = "CRONTAB", conflicts_with = "every")]
    cron: Option<String>,
    /// Begin at a moment drawn by chance, so long from its time on; by crontab, never outside of that
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    window: Option<Duration>,
    /// What is made: a password, a token (random bytes in base64url) or a uuid
    #[arg(long, value_name = "KIND", default_value = "password")]
    generate: String,
    /// How many characters a password has, or bytes a token: 1 to 4096; 32 if it is left out
    #[arg(long, value_name = "N")]
    length: Option<usize>,
    /// Characters that do not stand in a password
    #[arg(long, value_name = "CHARACTERS")]
    exclude_characters: Option<String>,
    /// A class of characters that does not stand in a password: digits, lowercase, punctuation or uppercase; may be
    /// repeated
    #[arg(long, value_name = "CLASS")]
    exclude: Vec<String>,
    /// A password has one character at least of each class that is left
    #[arg(long)]
    require_each: bool,
}

impl Rotation {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        match self.verb {
            Verb::Set(set) => set.run(session).await,
            Verb::Show(Named { name, vault }) => {
                let vault = session.vault(&vault)?;
                let rotation = session.client()?.secret_rotation(&vault, &name).await?;
                session.out.one(&rotation, COLUMNS)
            }
            Verb::Remove(Named { name, vault }) => {
                let vault = session.vault(&vault)?;
                Ok(session.client()?.remove_rotation(&vault, &name).await?)
            }
        }
    }
}

impl Set {
    async fn run(self, session: &Session) -> Result<()> {
        let vault = session.vault(&self.named.vault)?;
        let rotation = wire::SetRotation {
            rotator: self.rotator,
            every_s: self.every.map(|every| every.as_secs()),
            cron: self.cron,
            window_s: self.window.map(|window| window.as_secs()),
            generate: Some(wire::Generate {
                kind: self.generate,
                length: self.length,
                exclude_characters: self.exclude_characters.unwrap_or_default(),
                exclude: self.exclude,
                require_each: self.require_each,
            }),
        };
        let client = session.client()?;
        let set = client.set_rotation(&vault, &self.named.name, &rotation).await?;
        session.out.one(&set, COLUMNS)
    }
}

/// Begins a rotation now.
pub(super) async fn rotate(session: &Session, named: Named) -> Result<()> {
    let vault = session.vault(&named.vault)?;
    let begun = session.client()?.rotate_secret(&vault, &named.name).await?;
    session.out.one(&begun, COLUMNS)
}
