//! `chancery ca profile list|show`.

use clap::{Args, Subcommand};

use super::OurAuthority;
use crate::cli::exit::Result;
use crate::cli::output::{self, Columns};
use crate::cli::session::Session;
use crate::id::Label;

const COLUMNS: Columns = &[
    ("NAME", "name"),
    ("CURRENT", "current"),
    ("ADOPTED", "adopted"),
    ("VERSION", "version"),
];

#[derive(Subcommand)]
pub(super) enum Profile {
    /// List the versions of profiles, the newest of each first: since when, and which is current
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        authority: OurAuthority,
    },
    /// What is known about a version of a profile
    Show(Show),
}

#[derive(Args)]
pub(super) struct Show {
    /// Its name
    #[arg(long, value_name = "NAME")]
    name: Label,
    /// Which version, by the SHA-256 of its text; the current one if it is left out
    #[arg(long, value_name = "SHA256")]
    version: Option<String>,
    /// Write its text only, TOML
    #[arg(long)]
    toml: bool,
    #[command(flatten)]
    authority: OurAuthority,
}

impl Profile {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        let client = session.client()?;
        match self {
            Self::List { authority } => {
                let versions = client.profiles(&authority.name).await?;
                session.out.list(&versions, COLUMNS)
            }
            Self::Show(Show {
                name,
                version,
                toml,
                authority,
            }) => {
                let version = client.profile(&authority.name, &name, version).await?;
                match &version.text {
                    Some(text) if toml => output::write(text.as_bytes()),
                    _ => session.out.one(&version, COLUMNS),
                }
            }
        }
    }
}
