//! `chancery secret set|get|show|list|versions|update|label|destroy|delete|recover|purge|backup|restore|rotation|rotate`.

mod rotation;

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::backup::{Backup, Restore};
use super::exit::Result;
use super::input::Source;
use super::output::Columns;
use super::parse;
use super::session::Session;
use super::settings::VaultOption;
use super::vault::Most;
use crate::clock::Timestamp;
use crate::id::ObjectName;
use crate::wire::{self, OrNull, TextOrNull};

// Scripts count the columns: new ones come last.
const COLUMNS: Columns = &[
    ("NAME", "name"),
    ("ORDINAL", "ordinal"),
    ("VERSION", "version"),
    ("UPDATED", "updated"),
    ("TYPE", "content_type"),
    ("TAGS", "tags"),
    ("ENABLED", "enabled"),
    ("NOT BEFORE", "not_before"),
    ("EXPIRES", "expires"),
    ("LABELS", "labels"),
    ("REVISION", "revision"),
    ("RECOVERABLE UNTIL", "recoverable_until"),
    ("DESTROYED", "destroyed"),
];

const LIST_COLUMNS: Columns = &[
    ("NAME", "name"),
    ("ORDINAL", "ordinal"),
    ("VERSION", "version"),
    ("UPDATED", "updated"),
    ("TYPE", "content_type"),
    ("TAGS", "tags"),
    ("ENABLED", "enabled"),
    ("EXPIRES", "expires"),
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
    ("LABELS", "labels"),
    ("ENABLED", "enabled"),
    ("EXPIRES", "expires"),
    ("DESTROYED", "destroyed"),
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
    Show(Versioned),
    /// List a vault's secrets
    #[command(visible_alias = "ls")]
    List(List),
    /// List a secret's versions, newest first
    Versions(Versions),
    /// Change what stands beside a version's value
    Update(Update),
    /// Point a label at a version, or take it away
    Label(PointLabel),
    /// Destroy the value of one version, now or later
    Destroy(Destroy),
    /// Delete a secret; it can be recovered for a while
    #[command(visible_alias = "rm")]
    Delete(Named),
    /// Take a deletion back, or the destruction of a version that is still to come
    Recover(Versioned),
    /// Remove a deleted secret for good, before its retention ends
    Purge(Named),
    /// Write a secret with all its versions, sealed: only a service with the same token restores it
    Backup(Backup),
    /// Make a secret again from its backup, under its own name
    Restore(Restore),
    /// How a secret is rotated
    Rotation(rotation::Rotation),
    /// Begin a rotation now, or let one go on that is paused; it is not waited for
    #[command(after_help = "Example:\n  chancery secret rotate --name db/password")]
    Rotate(Named),
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
struct Versioned {
    #[command(flatten)]
    named: Named,
    /// A version, by ordinal, id or label; the current one if it is left out
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
}

#[derive(Args)]
struct Set {
    #[command(flatten)]
    named: Named,
    /// Have the value made: a password, a token (random bytes in base64url) or a uuid. It is not shown: get it
    #[arg(long, value_name = "KIND", conflicts_with = "from")]
    generate: Option<String>,
    /// How many characters a password has, or bytes a token: 1 to 4096; 32 if it is left out
    #[arg(long, value_name = "N", requires = "generate")]
    length: Option<usize>,
    /// Characters that do not stand in a password
    #[arg(long, value_name = "CHARACTERS", requires = "generate")]
    exclude_characters: Option<String>,
    /// A class of characters that does not stand in a password: digits, lowercase, punctuation or uppercase; may be
    /// repeated
    #[arg(long, value_name = "CLASS", requires = "generate")]
    exclude: Vec<String>,
    /// A password has one character at least of each class that is left
    #[arg(long, requires = "generate")]
    require_each: bool,
    /// What the value is, for example text/plain
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// A note beside the new version; may be repeated
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = parse::pair)]
    tags: Vec<(String, String)>,
    /// The value cannot be read until the version is enabled
    #[arg(long)]
    disabled: bool,
    /// Before, it should not be used
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    not_before: Option<Timestamp>,
    /// From then on, it should not be used
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    expires: Option<Timestamp>,
    /// A label that is to point at the new version; may be repeated. With labels it becomes the current one only if
    /// AWSCURRENT is among them
    #[arg(long = "label", value_name = "LABEL")]
    labels: Vec<String>,
    /// Tell this set from others: sent again with the same key and value, it makes no other version
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Where the value is: @FILE, or - for stdin (exactly the bytes, a line end at their end too)
    // SECURITY: parsed later, because clap repeats a wrong value in its message, and this one may be the secret.
    #[arg(value_name = "FROM", default_value = "-")]
    from: String,
}

#[derive(Args)]
struct Get {
    #[command(flatten)]
    of: Versioned,
}

#[derive(Args)]
struct Update {
    #[command(flatten)]
    of: Versioned,
    /// Whether the value may be read
    #[arg(long, value_name = "true|false")]
    enabled: Option<bool>,
    /// Before, it should not be used; `none` takes that away
    #[arg(long, value_name = "TIME", value_parser = parse::time_or_none)]
    not_before: Option<OrNull>,
    /// From then on, it should not be used; `none` takes that away
    #[arg(long, value_name = "TIME", value_parser = parse::time_or_none)]
    expires: Option<OrNull>,
    /// What the value is; `none` takes that away
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// A note; may be repeated. These replace all that it has
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = parse::pair)]
    tags: Vec<(String, String)>,
    /// Only if the secret is at this revision
    #[arg(long, value_name = "N")]
    if_revision: Option<u64>,
}

#[derive(Args)]
struct PointLabel {
    #[command(flatten)]
    named: Named,
    /// The label, for example AWSCURRENT
    #[arg(long, value_name = "LABEL")]
    label: String,
    /// The version that it is to point at, by ordinal, id or label
    #[arg(long, value_name = "VERSION", required_unless_present = "remove")]
    version: Option<String>,
    /// The version that it points at now; nothing is done if that is not so
    #[arg(long, value_name = "VERSION")]
    from: Option<String>,
    /// Take it away instead
    #[arg(long, conflicts_with = "version")]
    remove: bool,
}

#[derive(Args)]
struct Destroy {
    #[command(flatten)]
    named: Named,
    /// The version, by ordinal, id or label
    #[arg(long, value_name = "VERSION")]
    version: String,
    /// How long it can be recovered, for example 7d; at once if it is left out
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    after: Option<Duration>,
}

#[derive(Args)]
struct List {
    #[command(flatten)]
    vault: VaultOption,
    /// What their names begin with
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
    /// A tag that they have: KEY=VALUE, or KEY for any value
    #[arg(long, value_name = "KEY[=VALUE]")]
    tag: Option<String>,
    /// How they stand: enabled (and not expired), disabled or expired
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
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
            Verb::Show(Versioned { named, version }) => {
                let vault = session.vault(&named.vault)?;
                let client = session.client()?;
                let secret = client.secret(&vault, &named.name, version.as_deref()).await?;
                session.out.one(&secret, COLUMNS)
            }
            Verb::List(list) => list.run(session).await,
            Verb::Versions(Versions { named, most }) => {
                let vault = session.vault(&named.vault)?;
                let client = session.client()?;
                let versions = client.secret_versions(&vault, &named.name, most.limit).await?;
                session.out.list(&versions, VERSION_COLUMNS)
            }
            Verb::Update(update) => update.run(session).await,
            Verb::Label(label) => label.run(session).await,
            Verb::Destroy(destroy) => destroy.run(session).await,
            Verb::Delete(Named { name, vault }) => {
                let vault = session.vault(&vault)?;
                let deleted = session.client()?.delete_secret(&vault, &name).await?;
                session.out.one(&deleted, DELETED_COLUMNS)
            }
            Verb::Purge(Named { name, vault }) => {
                let vault = session.vault(&vault)?;
                session
                    .confirm(&format!("remove the secret `{name}` for good?"))
                    .await?;
                Ok(session.client()?.purge_secret(&vault, &name).await?)
            }
            Verb::Backup(backup) => {
                let vault = session.vault(&backup.vault)?;
                let sealed = session.client()?.back_up_secret(&vault, &backup.name).await?;
                backup.keep(session, &sealed)
            }
            Verb::Restore(restore) => {
                let vault = session.vault(&restore.vault)?;
                let client = session.client()?;
                let secret = client.restore_secret(&vault, &restore.read().await?).await?;
                session.out.one(&secret, COLUMNS)
            }
            Verb::Rotation(rotation) => rotation.run(session).await,
            Verb::Rotate(named) => rotation::rotate(session, named).await,
            Verb::Recover(Versioned { named, version }) => {
                let vault = session.vault(&named.vault)?;
                let client = session.client()?;
                let secret = match version {
                    None => client.recover_secret(&vault, &named.name).await?,
                    Some(version) => client.recover_version(&vault, &named.name, &version).await?,
                };
                session.out.one(&secret, COLUMNS)
            }
        }
    }
}

impl Set {
    async fn run(self, session: &Session) -> Result<()> {
        let vault = session.vault(&self.named.vault)?;
        let client = session.client()?;
        let mut secret = match self.generate {
            Some(kind) => wire::SetSecret::generated(wire::Generate {
                kind,
                length: self.length,
                exclude_characters: self.exclude_characters.unwrap_or_default(),
                exclude: self.exclude,
                require_each: self.require_each,
            }),
            None => {
                let from: Source = self.from.parse()?;
                let value = from.read(&format!("value of {}", self.named.name)).await?;
                wire::SetSecret::new(&value)
            }
        };
        secret.content_type = self.content_type;
        secret.tags = BTreeMap::from_iter(self.tags);
        secret.enabled = !self.disabled;
        secret.not_before = self.not_before;
        secret.expires = self.expires;
        secret.labels = self.labels;
        let key = self.idempotency_key.as_deref();
        let version = client.set_secret(&vault, &self.named.name, &secret, key).await?;
        session.out.one(&version, VERSION_COLUMNS)
    }
}

impl Get {
    async fn run(self, session: &Session) -> Result<()> {
        let Versioned { named, version } = self.of;
        let vault = session.vault(&named.vault)?;
        let client = session.client()?;
        let value = client.secret_value(&vault, &named.name, version.as_deref()).await?;
        session.out.bare(value.bytes()?.expose(), &value)
    }
}

impl List {
    async fn run(self, session: &Session) -> Result<()> {
        let vault = session.vault(&self.vault)?;
        let filter = wire::SecretsQuery {
            prefix: self.prefix,
            tag: self.tag.map(|tag| tag.replacen('=', ":", 1)),
            state: self.state,
            ..wire::SecretsQuery::default()
        };
        let secrets = session.client()?.secrets(&vault, &filter, self.most.limit).await?;
        session.out.list(&secrets, LIST_COLUMNS)
    }
}

impl Update {
    async fn run(self, session: &Session) -> Result<()> {
        let Versioned { named, version } = self.of;
        let vault = session.vault(&named.vault)?;
        let update = wire::UpdateSecret {
            enabled: self.enabled,
            not_before: self.not_before,
            expires: self.expires,
            content_type: self
                .content_type
                .map(|text| TextOrNull((text != "none").then_some(text))),
            tags: (!self.tags.is_empty()).then(|| BTreeMap::from_iter(self.tags)),
        };
        let client = session.client()?;
        let secret = client
            .update_secret(&vault, &named.name, version.as_deref(), &update, self.if_revision)
            .await?;
        session.out.one(&secret, COLUMNS)
    }
}

impl PointLabel {
    async fn run(self, session: &Session) -> Result<()> {
        let vault = session.vault(&self.named.vault)?;
        let (client, name) = (session.client()?, &self.named.name);
        let secret = match self.version {
            Some(version) => {
                let point = wire::PointLabel {
                    version,
                    from: self.from,
                };
                client.point_label(&vault, name, &self.label, &point).await?
            }
            None => client.remove_label(&vault, name, &self.label, self.from).await?,
        };
        session.out.one(&secret, COLUMNS)
    }
}

impl Destroy {
    async fn run(self, session: &Session) -> Result<()> {
        let vault = session.vault(&self.named.vault)?;
        let (client, name) = (session.client()?, &self.named.name);
        if self.after.is_none() {
            session
                .confirm(&format!(
                    "destroy the value of version {} of `{name}`, for good?",
                    self.version
                ))
                .await?;
        }
        let destroy = wire::DestroyVersion {
            delay_s: self.after.unwrap_or_default().as_secs(),
        };
        let secret = client.destroy_version(&vault, name, &self.version, &destroy).await?;
        session.out.one(&secret, COLUMNS)
    }
}
