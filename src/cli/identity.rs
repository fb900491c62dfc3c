//! `chancery identity create|show|update|delete|disable|enable|token|list`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::exit::{Failure, Result};
use super::output::Columns;
use super::parse;
use super::session::Session;
use super::vault::Most;
use crate::wire;

const COLUMNS: Columns = &[
    ("ID", "id"),
    ("TTL", "ttl_s"),
    ("GRACE", "grace_s"),
    ("CREATED", "created"),
    ("DISABLED", "disabled"),
    ("GROUPS", "groups"),
];

const DETAILS: Columns = &[
    ("ID", "id"),
    ("TTL", "ttl_s"),
    ("GRACE", "grace_s"),
    ("CREATED", "created"),
    ("DISABLED", "disabled"),
    ("ENTRIES", "entries"),
    ("GROUPS", "groups"),
];

const ENTRY: Columns = &[("ENTRY", "id"), ("BY", "by"), ("CREATED", "created")];

#[derive(Args)]
pub(super) struct Identity {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Register an identity, or with --by one more way to it
    Create(Create),
    /// What is known about an identity, and the ways to it
    Show(Which),
    /// Change an identity's lifetime and grace, or with --entry what that entry asks for
    Update(Update),
    /// Delete a registration entry: nobody gets the identity by it any more
    Delete(Delete),
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
    #[command(flatten)]
    which: Which,
    /// The lifetime of its certificates, for example 1h
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    ttl: Option<Duration>,
    /// How long after its certificate's end it may still renew, for example 12h; none for not at all
    #[arg(long, value_name = "DURATION", value_parser = parse::duration_or_none)]
    grace: Option<Duration>,
    /// A group that it is in, with the roles that the group has; may be repeated
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    #[command(flatten)]
    asks: Asks,
}

#[derive(Args)]
struct Update {
    #[command(flatten)]
    which: Which,
    /// The entry, by its id
    #[arg(long, value_name = "ENTRY", conflicts_with_all = ["ttl", "grace", "groups", "no_groups"])]
    entry: Option<String>,
    /// The lifetime of its certificates from now on; without it that stays
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    ttl: Option<Duration>,
    /// How long after its certificate's end it may still renew; none for not at all; without it that stays
    #[arg(long, value_name = "DURATION", value_parser = parse::duration_or_none)]
    grace: Option<Duration>,
    /// A group that it is in from now on, and in no others; may be repeated; without it the groups stay
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// Take it out of all groups but those that an entry was shown
    #[arg(long, conflicts_with = "groups")]
    no_groups: bool,
    #[command(flatten)]
    asks: Asks,
}

#[derive(Args)]
struct Delete {
    #[command(flatten)]
    which: Which,
    /// The entry, by its id
    #[arg(long, value_name = "ENTRY")]
    entry: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum By {
    /// A JWT of an OIDC issuer: --issuer, --audience, --claim, --ca-file
    Oidc,
    /// A one-time join token (`chancery identity token`)
    Token,
    /// A client certificate: --name, --ca-file, --crl-file
    X509,
}

/// What must be shown for an identity.
#[derive(Args)]
struct Asks {
    /// By what the identity is had
    #[arg(long, value_enum)]
    by: Option<By>,
    /// The OIDC issuer, as its tokens' `iss` has it
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// What its tokens must be for (`aud`)
    #[arg(long, value_name = "TEXT")]
    audience: Option<String>,
    /// A claim that its tokens must have; may be repeated; a path if it begins with /
    #[arg(long = "claim", value_name = "CLAIM=VALUE", value_parser = parse::pair)]
    claims: Vec<(String, String)>,
    /// The claim that says in which groups the identity is: one, or a list of them; a path if it begins with /
    #[arg(long, value_name = "CLAIM", requires = "group_prefix")]
    group_claim: Option<String>,
    /// What is put before each of those groups, so that the issuer names none but its own, for example ci/
    #[arg(long, value_name = "TEXT", requires = "group_claim")]
    group_prefix: Option<String>,
    /// PEM: for oidc the roots of the issuer's own TLS, else the system's; for x509 the CA, else our own
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The name in the client certificate: dns:web.example.org, uri:spiffe://example.org/*/web or subject:CN=web
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The CA's revocation lists, PEM; the certificate must then be on record as good
    #[arg(long, value_name = "FILE")]
    crl_file: Option<PathBuf>,
}

impl Asks {
    async fn way(self, session: &Session) -> Result<Option<wire::Way>> {
        let read = async |path: &Option<PathBuf>| match path {
            Some(path) => session.text_of(path).await.map(Some),
            None => Ok(None),
        };
        let is_oidc =
            self.issuer.is_some() || self.audience.is_some() || !self.claims.is_empty() || self.group_claim.is_some();
        let is_x509 = self.name.is_some() || self.crl_file.is_some();
        match self.by {
            Some(By::Oidc) if !is_x509 => match (self.issuer, self.audience) {
                (Some(issuer), Some(audience)) if !self.claims.is_empty() => Ok(Some(wire::Way::Oidc {
                    issuer,
                    audience,
                    claims: self.claims.into_iter().collect(),
                    ca_pem: read(&self.ca_file).await?,
                    group_claim: self
                        .group_claim
                        .zip(self.group_prefix)
                        .map(|(claim, prefix)| wire::GroupClaim { claim, prefix }),
                })),
                _ => Err(Failure::usage("--by oidc needs --issuer, --audience and --claim")),
            },
            Some(By::X509) if !is_oidc => match self.name {
                Some(name) => Ok(Some(wire::Way::X509 {
                    name,
                    ca_pem: read(&self.ca_file).await?,
                    crl_pem: read(&self.crl_file).await?,
                })),
                None => Err(Failure::usage("--by x509 needs --name")),
            },
            Some(By::Token) | None if !is_oidc && !is_x509 && self.ca_file.is_none() => Ok(None),
            _ => Err(Failure::usage(
                "these options do not belong together: --by oidc takes --issuer, --audience, --claim, \
                 --group-claim, --group-prefix and --ca-file, --by x509 takes --name, --ca-file and --crl-file",
            )),
        }
    }
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
            Verb::Create(create) => {
                let identity = wire::CreateIdentity {
                    id: create.which.id,
                    ttl_s: create.ttl.map(|ttl| ttl.as_secs()),
                    grace_s: create.grace.map(|grace| grace.as_secs()),
                    groups: create.groups,
                    entry: create.asks.way(session).await?,
                };
                session.out.one(&client.create_identity(&identity).await?, DETAILS)
            }
            Verb::Show(Which { id }) => session.out.one(&client.identity(&id).await?, DETAILS),
            Verb::Update(update) => {
                let id = update.which.id;
                match (update.entry, update.asks.way(session).await?) {
                    (Some(entry), Some(way)) => session.out.one(&client.update_entry(&id, &entry, &way).await?, ENTRY),
                    (None, None) => {
                        let known = client.identity(&id).await?;
                        let set = wire::UpdateIdentity {
                            ttl_s: update.ttl.map(|ttl| ttl.as_secs()).or(known.ttl_s),
                            grace_s: update.grace.map(|grace| grace.as_secs()).or(known.grace_s),
                            groups: match update.groups.is_empty() && !update.no_groups {
                                true => known.groups,
                                false => update.groups,
                            },
                        };
                        session.out.one(&client.update_identity(&id, &set).await?, COLUMNS)
                    }
                    _ => Err(Failure::usage(
                        "to change what an entry asks for, give its id by --entry and the whole of it by --by",
                    )),
                }
            }
            Verb::Delete(Delete { which, entry }) => {
                client.delete_entry(&which.id, &entry).await?;
                session
                    .out
                    .say(&format!("entry `{entry}` of `{}` is deleted", which.id));
                Ok(())
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
