//! `chancery identity create|disable|enable|token|list`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::exit::Result;
use super::output::Columns;
use super::parse;
use super::session::Session;
use super::vault::Most;
use crate::wire;

const COLUMNS: Columns = &[
    ("ID", "id"),
    ("TTL", "ttl_s"),
    ("CREATED", "created"),
    ("DISABLED", "disabled"),
];

#[derive(Args)]
pub(super) struct Identity {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Register an identity
    Create(Create),
    /// Refuse an identity from its next request on, whatever certificates it has
    Disable(Which),
    /// Take a disabled identity's requests again
    Enable(Which),
    /// Make a one-time join token for an identity, and write it bare
    Token(Token),
    /// List registered identities
    #[command(visible_alias = "ls")]
    List(Most),
}

#[derive(Args)]
struct Create {
    /// Its SPIFFE ID, for example spiffe://chancery.test/web
    #[arg(long, value_name = "SPIFFE_ID")]
    id: String,
    /// The lifetime of its certificates, for example 1h
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    ttl: Option<Duration>,
}

#[derive(Args)]
struct Which {
    /// The identity's SPIFFE ID
    #[arg(long, value_name = "SPIFFE_ID")]
    id: String,
}

#[derive(Args)]
struct Token {
    /// The identity's SPIFFE ID
    #[arg(long, value_name = "SPIFFE_ID")]
    id: String,
    /// How long the token can be used, for example 10m
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    ttl: Option<Duration>,
}

impl Identity {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        let client = session.client()?;
        match self.verb {
            Verb::Create(Create { id, ttl }) => {
                let ttl_s = ttl.map(|ttl| ttl.as_secs());
                let identity = client.create_identity(&wire::CreateIdentity { id, ttl_s }).await?;
                session.out.one(&identity, COLUMNS)
            }
            Verb::Disable(Which { id }) => {
                let identity = client.disable_identity(&wire::WhichIdentity { id }).await?;
                session.out.one(&identity, COLUMNS)
            }
            Verb::Enable(Which { id }) => {
                let identity = client.enable_identity(&wire::WhichIdentity { id }).await?;
                session.out.one(&identity, COLUMNS)
            }
            Verb::Token(Token { id, ttl }) => {
                let token = client
                    .create_join_token(&wire::CreateJoinToken {
                        identity: id,
                        ttl_s: ttl.map(|ttl| ttl.as_secs()),
                    })
                    .await?;
                session.out.say(&format!(
                    "join token for `{}`, good once, until {}",
                    token.identity, token.expires
                ));
                session
                    .out
                    .bare(format!("{}\n", token.token.expose()).as_bytes(), &token)
            }
            Verb::List(Most { limit }) => session.out.list(&client.identities(limit).await?, COLUMNS),
        }
    }
}
