//! `chancery key create|import|list|show|versions|rotate|update|delete|recover|purge|export|backup|restore`; the uses of keys
//! are in `uses`.

mod uses;

use std::collections::BTreeMap;

use clap::{Args, Subcommand, ValueEnum};

use super::backup::{Backup, Restore};
use super::exit::{Failure, Result};
use super::input::Source;
use super::output::Columns;
use super::parse;
use super::session::Session;
use super::settings::VaultOption;
use super::vault::Most;
use crate::clock::Timestamp;
use crate::id::ObjectName;
use crate::wire::{self, OrNull};

const COLUMNS: Columns = &[
    ("NAME", "name"),
    ("TYPE", "type"),
    ("ORDINAL", "ordinal"),
    ("VERSION", "version"),
    ("ENABLED", "enabled"),
    ("NOT BEFORE", "not_before"),
    ("EXPIRES", "expires"),
    ("OPS", "key_ops"),
    ("REVISION", "revision"),
    ("TAGS", "tags"),
];

const VERSION_COLUMNS: Columns = &[
    ("NAME", "name"),
    ("TYPE", "type"),
    ("ORDINAL", "ordinal"),
    ("VERSION", "version"),
    ("CURRENT", "current"),
    ("ENABLED", "enabled"),
    ("NOT BEFORE", "not_before"),
    ("EXPIRES", "expires"),
    ("OPS", "key_ops"),
    ("CREATED", "created"),
    ("BY", "created_by"),
    ("TAGS", "tags"),
];

/// The longest key that is imported, however it is written.
const KEY_MAX_BYTES: usize = 16 * 1024;

const DELETED_COLUMNS: Columns = &[
    ("NAME", "name"),
    ("DELETED", "deleted"),
    ("RECOVERABLE UNTIL", "recoverable_until"),
];

#[derive(Args)]
pub(super) struct Key {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Make a key
    Create(Create),
    /// Keep a key that was made elsewhere
    Import(Import),
    /// List a vault's keys
    #[command(visible_alias = "ls")]
    List(List),
    /// What is known about a key; never its private half
    Show(Versioned),
    /// List a key's versions, newest first
    Versions(Versions),
    /// Give a key a new version
    Rotate(Rotate),
    /// Change what a version may be used for, and when
    Update(Update),
    /// Delete a key; it can be recovered for a while
    #[command(visible_alias = "rm")]
    Delete(Named),
    /// Take a deletion back
    Recover(Named),
    /// Remove a deleted key for good, before its retention ends
    Purge(Named),
    /// Write a key with all its versions, sealed: only a service with the same token restores it
    Backup(Backup),
    /// Make a key again from its backup, under its own name
    Restore(Restore),
    /// Write a key's public half, or all of a key that was made exportable
    #[command(visible_alias = "public")]
    Export(Export),
    #[command(flatten)]
    Use(uses::Verb),
}

#[derive(Args)]
struct Named {
    /// The key's name
    #[arg(long, value_name = "NAME")]
    name: ObjectName,
    #[command(flatten)]
    vault: VaultOption,
}

#[derive(Args)]
struct Versioned {
    #[command(flatten)]
    named: Named,
    /// A version, by ordinal or id; the current one if it is left out
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
}

#[derive(Args)]
struct Create {
    #[command(flatten)]
    named: Named,
    /// What sort of key: aes-128, aes-192, aes-256, ec-p256, ec-p384, ec-p521, ec-secp256k1, ed25519, hmac-256, hmac-384,
    /// hmac-512, rsa-2048, rsa-3072 or rsa-4096
    #[arg(long = "type", value_name = "TYPE")]
    kind: String,
    #[command(flatten)]
    new: New,
}

#[derive(Args)]
struct Import {
    #[command(flatten)]
    named: Named,
    /// What sort of key it is, as in `key create`; bare bytes do not say it
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// How it is written: pkcs8 (PEM or DER), jwk, or raw for the bytes of a symmetric key
    #[arg(long, value_name = "FORMAT", default_value = "pkcs8")]
    format: String,
    /// It becomes the current version of the key of that name, whose type it must have; older versions still decrypt
    /// and verify. Uses and labels that are not named are those of the version before
    #[arg(long)]
    new_version: bool,
    /// Only if the key is at this revision
    #[arg(long, value_name = "N", requires = "new_version")]
    if_revision: Option<u64>,
    /// The RSA key of the vault that it was wrapped by
    #[arg(long, value_name = "NAME", requires = "algorithm")]
    wrapped_by: Option<ObjectName>,
    /// How it was wrapped: RSA-AES-KWP-256, RSA-AES-KWP, or for symmetric keys RSA-OAEP-256 or RSA-OAEP
    #[arg(long, value_name = "ALGORITHM", requires = "wrapped_by")]
    algorithm: Option<String>,
    #[command(flatten)]
    new: New,
    /// Where it is: @FILE, or - for stdin
    // SECURITY: parsed later, because clap repeats a wrong value in its message, and this one may be the key.
    #[arg(value_name = "FROM", default_value = "-")]
    from: String,
}

#[derive(Args)]
struct New {
    /// Its private half may be exported; not with protection hsm
    #[arg(long)]
    exportable: bool,
    /// Where its private half is kept and used: software is sealed in the database and used in the service's process,
    /// hsm is made and used in the token and kept outside it only wrapped by it; software if it is left out
    #[arg(long, value_name = "PROTECTION")]
    protection: Option<String>,
    /// A use: encrypt, decrypt, sign, verify, wrapKey, unwrapKey or, alone, deriveBits; may be repeated. All of its type
    /// but deriveBits if it is left out
    #[arg(long = "op", value_name = "OP")]
    ops: Vec<String>,
    /// It cannot be used until it is enabled
    #[arg(long)]
    disabled: bool,
    /// Before, it encrypts, wraps and signs nothing
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    not_before: Option<Timestamp>,
    /// From then on, it encrypts, wraps and signs nothing
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    expires: Option<Timestamp>,
    /// A label; may be repeated
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = parse::pair)]
    tags: Vec<(String, String)>,
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

#[derive(Args)]
struct Rotate {
    #[command(flatten)]
    named: Named,
    /// When the new version expires
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    expires: Option<Timestamp>,
    /// Only if the key is at this revision
    #[arg(long, value_name = "N")]
    if_revision: Option<u64>,
}

#[derive(Args)]
struct Update {
    #[command(flatten)]
    of: Versioned,
    /// Whether it may be used at all
    #[arg(long, value_name = "true|false")]
    enabled: Option<bool>,
    /// Before, it encrypts, wraps and signs nothing; `none` takes that away
    #[arg(long, value_name = "TIME", value_parser = parse::time_or_none)]
    not_before: Option<OrNull>,
    /// From then on, it encrypts, wraps and signs nothing; `none` takes that away
    #[arg(long, value_name = "TIME", value_parser = parse::time_or_none)]
    expires: Option<OrNull>,
    /// A use; may be repeated. These replace all that it has
    #[arg(long = "op", value_name = "OP")]
    ops: Vec<String>,
    /// A label; may be repeated. These replace all that it has
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = parse::pair)]
    tags: Vec<(String, String)>,
    /// Only if the key is at this revision
    #[arg(long, value_name = "N")]
    if_revision: Option<u64>,
}

#[derive(Args)]
struct Export {
    #[command(flatten)]
    of: Versioned,
    /// The public half, which is written if nothing is said
    #[arg(long, conflicts_with = "private")]
    public: bool,
    /// The private half, of a key that was made exportable
    #[arg(long)]
    private: bool,
    /// How it is written; raw is for the bytes of a symmetric key
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "pem")]
    format: Written,
}

#[derive(Clone, Copy, ValueEnum)]
enum Written {
    Der,
    Jwk,
    Pem,
    Raw,
}

impl Key {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        match self.verb {
            Verb::Create(create) => create.run(session).await,
            Verb::Import(import) => import.run(session).await,
            Verb::List(List { vault, most }) => {
                let vault = session.vault(&vault)?;
                let keys = session.client()?.keys(&vault, most.limit).await?;
                session.out.list(&keys, COLUMNS)
            }
            Verb::Show(Versioned { named, version }) => {
                let vault = session.vault(&named.vault)?;
                let key = session.client()?.key(&vault, &named.name, version.as_deref()).await?;
                session.out.one(&key, COLUMNS)
            }
            Verb::Versions(Versions { named, most }) => {
                let vault = session.vault(&named.vault)?;
                let versions = session.client()?.key_versions(&vault, &named.name, most.limit).await?;
                session.out.list(&versions, VERSION_COLUMNS)
            }
            Verb::Rotate(Rotate {
                named,
                expires,
                if_revision,
            }) => {
                let vault = session.vault(&named.vault)?;
                let rotate = wire::RotateKey { expires };
                let client = session.client()?;
                let key = client.rotate_key(&vault, &named.name, &rotate, if_revision).await?;
                session.out.one(&key, COLUMNS)
            }
            Verb::Update(update) => update.run(session).await,
            Verb::Delete(Named { name, vault }) => {
                let vault = session.vault(&vault)?;
                let deleted = session.client()?.delete_key(&vault, &name).await?;
                session.out.one(&deleted, DELETED_COLUMNS)
            }
            Verb::Backup(backup) => {
                let vault = session.vault(&backup.vault)?;
                let sealed = session.client()?.back_up_key(&vault, &backup.name).await?;
                backup.keep(session, &sealed)
            }
            Verb::Restore(restore) => {
                let vault = session.vault(&restore.vault)?;
                let client = session.client()?;
                let key = client.restore_key(&vault, &restore.read().await?).await?;
                session.out.one(&key, COLUMNS)
            }
            Verb::Recover(Named { name, vault }) => {
                let vault = session.vault(&vault)?;
                let key = session.client()?.recover_key(&vault, &name).await?;
                session.out.one(&key, COLUMNS)
            }
            Verb::Purge(Named { name, vault }) => {
                let vault = session.vault(&vault)?;
                session
                    .confirm(&format!(
                        "remove the key `{name}` for good, and with it what it encrypted?"
                    ))
                    .await?;
                Ok(session.client()?.purge_key(&vault, &name).await?)
            }
            Verb::Export(export) => export.run(session).await,
            Verb::Use(verb) => verb.run(session).await,
        }
    }
}

impl Create {
    async fn run(self, session: &Session) -> Result<()> {
        let vault = session.vault(&self.named.vault)?;
        let create = wire::CreateKey {
            name: self.named.name,
            kind: self.kind,
            protection: self.new.protection,
            exportable: self.new.exportable,
            key_ops: (!self.new.ops.is_empty()).then_some(self.new.ops),
            enabled: !self.new.disabled,
            not_before: self.new.not_before,
            expires: self.new.expires,
            tags: BTreeMap::from_iter(self.new.tags),
        };
        let key = session.client()?.create_key(&vault, &create).await?;
        session.out.one(&key, COLUMNS)
    }
}

impl Import {
    async fn run(self, session: &Session) -> Result<()> {
        let vault = session.vault(&self.named.vault)?;
        let source = self.from.parse::<Source>()?;
        let key = source.read_up_to(KEY_MAX_BYTES, "key").await?;
        let wrapped_by = self.wrapped_by.zip(self.algorithm);
        let import = wire::ImportKey {
            key: wire::SecretBase64(key),
            format: Some(self.format),
            kind: self.kind,
            new_version: self.new_version,
            wrapped_by: wrapped_by.map(|(name, algorithm)| wire::WrappedBy {
                name,
                version: None,
                algorithm,
            }),
            protection: self.new.protection,
            exportable: self.new.exportable,
            key_ops: (!self.new.ops.is_empty()).then_some(self.new.ops),
            enabled: !self.new.disabled,
            not_before: self.new.not_before,
            expires: self.new.expires,
            tags: BTreeMap::from_iter(self.new.tags),
        };
        let client = session.client()?;
        let key = client
            .import_key(&vault, &self.named.name, &import, self.if_revision)
            .await?;
        session.out.one(&key, COLUMNS)
    }
}

impl Update {
    async fn run(self, session: &Session) -> Result<()> {
        let Versioned { named, version } = self.of;
        let vault = session.vault(&named.vault)?;
        let update = wire::UpdateKey {
            enabled: self.enabled,
            not_before: self.not_before,
            expires: self.expires,
            key_ops: (!self.ops.is_empty()).then_some(self.ops),
            tags: (!self.tags.is_empty()).then(|| BTreeMap::from_iter(self.tags)),
        };
        let client = session.client()?;
        let key = client
            .update_key(&vault, &named.name, version.as_deref(), &update, self.if_revision)
            .await?;
        session.out.one(&key, COLUMNS)
    }
}

impl Export {
    async fn run(self, session: &Session) -> Result<()> {
        if self.private {
            return self.run_private(session).await;
        }
        let Versioned { named, version } = self.of;
        let vault = session.vault(&named.vault)?;
        let key = session.client()?.key(&vault, &named.name, version.as_deref()).await?;
        let (Some(pem), Some(jwk)) = (&key.version.public_key_pem, &key.version.jwk) else {
            return Err(Failure::error(format!(
                "a key of type `{}` has no public half: its bytes are written by `--private` if it was made exportable",
                key.version.kind
            )));
        };
        let bytes = match self.format {
            Written::Pem => pem.clone().into_bytes(),
            Written::Der => {
                let (_, der) = der::Document::from_pem(pem)
                    .map_err(|e| Failure::error(format!("the answer's public key is not PEM: {e}")))?;
                der.into_vec()
            }
            Written::Jwk => format!("{jwk}\n").into_bytes(),
            Written::Raw => return Err(Failure::usage("a public half is written as `pem`, `der` or `jwk`")),
        };
        session.out.bare(&bytes, &key)
    }

    async fn run_private(self, session: &Session) -> Result<()> {
        let Versioned { named, version } = self.of;
        let vault = session.vault(&named.vault)?;
        let format = match self.format {
            Written::Der | Written::Pem => "pkcs8",
            Written::Jwk => "jwk",
            Written::Raw => "raw",
        };
        let ask = wire::ExportKey {
            version,
            format: Some(format.to_owned()),
        };
        let exported = session.client()?.export_key(&vault, &named.name, &ask).await?;
        let key = exported.key.0.expose();
        match self.format {
            Written::Pem => {
                let pem = der::SecretDocument::try_from(key)
                    .and_then(|document| document.to_pem("PRIVATE KEY", der::pem::LineEnding::LF))
                    .map_err(|e| Failure::error(format!("the answer is not PKCS#8: {e}")))?;
                session.out.bare(pem.as_bytes(), &exported)
            }
            Written::Der | Written::Jwk | Written::Raw => session.out.bare(key, &exported),
        }
    }
}
