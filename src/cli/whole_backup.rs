//! `chancery backup create|verify|restore`: the whole service as one file. `create` asks the service; the others stand on
//! its host.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;
use tokio::io::{AsyncRead, BufReader};

use super::exit::{Exit, Failure, Result};
use super::export::Export;
use super::input::Source;
use super::output::Columns;
use super::progress::Progress;
use super::server::{failed, log, with_environment, wrong};
use super::session::Session;
use super::verify;
use crate::backup::{self, Header, Item, OldLog, OldLogs, Opened, Sealed, Target};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::entropy::OsEntropy;
use crate::error::{Error, Kind};
use crate::hsm::Hsm;
use crate::id::Label;

const COLUMNS: Columns = &[
    ("BACKUP", "backup"),
    ("MADE", "made"),
    ("RELEASE", "release"),
    ("ZONE", "zone"),
    ("NODE", "node"),
    ("SHA-256", "sha256"),
    ("ROWS", "rows"),
    ("RECORDS", "records"),
    ("LOGS", "logs"),
];

#[derive(Args)]
pub(super) struct WholeBackup {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Have the running service make a backup of all that it keeps, sealed by its token
    Create(Create),
    /// Check that a backup is whole; with the service's token, that it is authentic, and that its logs are those signed
    Verify(Verify),
    /// Make a service again from a backup: into an empty database, by the same token, while no service runs
    Restore(Restore),
}

#[derive(Args)]
#[command(after_help = "Example:\n  chancery backup create --to chancery.backup")]
struct Create {
    /// A new file, which only its owner reads
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

#[derive(Args)]
#[command(after_help = "Example:\n  chancery backup verify --config /etc/chancery/chancery.toml @chancery.backup")]
struct Verify {
    /// The service's configuration, TOML, for its token; without it only damage is found
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the backup is: @FILE, or - for stdin
    #[arg(value_name = "FROM", default_value = "-")]
    from: String,
}

#[derive(Args)]
#[command(after_help = "Example:\n  chancery backup restore --config /etc/chancery/chancery.toml @chancery.backup")]
struct Restore {
    /// The service's configuration, TOML; its database must be empty, and no log lie in its journal's folder
    #[arg(long, value_name = "FILE", env = "CHANCERY_CONFIG", hide_env_values = true)]
    config: PathBuf,
    /// Where the logs up to the backup are written, as `chancery audit verify --from` reads them; beside the journal's
    /// folder if it is left out
    #[arg(long, value_name = "DIR")]
    old_logs: Option<PathBuf>,
    /// Where the backup is: @FILE, or - for stdin
    #[arg(value_name = "FROM", default_value = "-")]
    from: String,
}

/// A backup, as data.
#[derive(Serialize)]
struct Told {
    backup: String,
    made: String,
    release: String,
    zone: String,
    node: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    records: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logs: Option<String>,
}

impl Told {
    fn new(header: &Header) -> Self {
        Self {
            backup: header.id.clone(),
            made: header.made.clone(),
            release: header.release.clone(),
            zone: header.zone.clone(),
            node: header.node.clone(),
            sha256: None,
            rows: None,
            records: None,
            logs: None,
        }
    }
}

impl WholeBackup {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        match self.verb {
            Verb::Create(create) => create.run(session).await,
            Verb::Verify(verify) => verify.run(session).await,
            Verb::Restore(restore) => restore.run(session).await,
        }
    }
}

impl Create {
    async fn run(self, session: &Session) -> Result<()> {
        if self.to.exists() {
            return Err(Failure::usage(format!(
                "`{}` is there already: give a new file",
                self.to.display()
            )));
        }
        let part = beside(&self.to, ".part");
        let made = self.fetch(session, &part).await;
        if made.is_err() {
            // Never half of it.
            let _ = fs::remove_file(&part);
        }
        session.out.one(&made?, COLUMNS)
    }

    async fn fetch(&self, session: &Session, part: &Path) -> Result<Told> {
        let unwritable = |e| Failure::error(format!("{} cannot be written: {e}", self.to.display()));
        let client = session.client()?;
        let mut incoming = client.create_backup().await?;
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(part)
            .map_err(unwritable)?;
        let progress = Progress::new(&session.out);
        let mut bytes = 0;
        while let Some(piece) = incoming.next().await? {
            file.write_all(&piece).map_err(unwritable)?;
            bytes += piece.len();
            progress.passing(&format!("{} MiB", bytes >> 20));
        }
        file.sync_all().map_err(unwritable)?;
        drop((progress, file));
        // What the disk has now, not what came in.
        let sealed = Sealed::open(open(Source::File(part.to_owned())).await?)
            .await
            .map_err(bad)?;
        let mut told = Told::new(sealed.header());
        told.sha256 = Some(sealed.check().await.map_err(bad)?);
        fs::rename(part, &self.to).map_err(unwritable)?;
        Ok(told)
    }
}

impl Verify {
    async fn run(self, session: &Session) -> Result<()> {
        let source: Source = self.from.parse()?;
        let Some(config) = self.config else {
            let sealed = Sealed::open(open(source).await?).await.map_err(bad)?;
            let mut told = Told::new(sealed.header());
            told.sha256 = Some(sealed.check().await.map_err(bad)?);
            session.out.one(&told, COLUMNS)?;
            session.out.say(
                "the file is whole; that nobody changed it on purpose is proven by the service's token only: give --config",
            );
            return Ok(());
        };
        let config = Config::read(&config).map_err(wrong)?;
        with_environment(&config)?;
        let (mut opened, hsm) = unseal(&config, source).await.map_err(bad)?;
        let told = prove(&mut opened).await;
        close(hsm).await?;
        session.out.one(&told?, COLUMNS)?;
        session
            .out
            .say("the backup is whole and authentic, and its logs are those that were signed");
        Ok(())
    }
}

impl Restore {
    async fn run(self, session: &Session) -> Result<()> {
        let source: Source = self.from.parse()?;
        let config = Config::read(&self.config).map_err(wrong)?;
        with_environment(&config)?;
        log();
        let (mut opened, hsm) = unseal(&config, source).await.map_err(refused)?;
        let folder = match (self.old_logs, &config.audit.journal) {
            (Some(folder), _) if fs::read_dir(&folder).is_ok_and(|mut held| held.next().is_some()) => {
                return Err(Failure::usage(format!(
                    "`{}` is not empty: give a new folder for the old logs",
                    folder.display()
                )));
            }
            (Some(folder), _) => folder,
            (None, Some(journal)) => beside(journal, &format!("-before-{}", short(&opened.header().id))),
            (None, None) => {
                return Err(Failure::usage(
                    "the node has no journal, so it is not said where the old logs are to be written: give --old-logs",
                ));
            }
        };
        let mut kept = Kept::new(folder)?;
        let zone = config.zone.to_string();
        let target = Target {
            store: &config.store,
            audit: &config.audit,
            zone: &zone,
            node: &config.node,
            clock: &SystemClock,
            entropy: &OsEntropy,
        };
        let restored = backup::restore(&target, &mut opened, &mut kept).await;
        close(hsm).await?;
        let restored = restored.map_err(refused)?;
        let mut told = Told::new(&restored.header);
        told.rows = Some(restored.rows);
        told.records = Some(restored.records);
        told.logs = Some(kept.folder.display().to_string());
        session.out.one(&told, COLUMNS)?;
        for begun in restored.logs {
            session.out.say(&format!(
                "the log of node `{}` begins anew as `{}`; the one before it is `{}`",
                begun.old.node, begun.origin, begun.old.origin
            ));
        }
        session.out.say("all is put back: start the service");
        Ok(())
    }
}

type From = Box<dyn AsyncRead + Unpin + Send>;

async fn open(source: Source) -> Result<From> {
    Ok(match source {
        Source::Stdin => Box::new(tokio::io::stdin()),
        Source::File(path) => {
            let file = tokio::fs::File::open(&path).await;
            let file = file.map_err(|e| Failure::usage(format!("`{}` cannot be read: {e}", path.display())))?;
            Box::new(BufReader::with_capacity(1 << 20, file))
        }
    })
}

async fn unseal(config: &Config, source: Source) -> crate::error::Result<(Opened<From>, Hsm)> {
    let from = open(source).await.map_err(|e| Error::invalid(e.message().to_owned()))?;
    let sealed = Sealed::open(from).await?;
    let hsm = Hsm::open(&config.hsm)?;
    Ok((sealed.unseal(&hsm).await?, hsm))
}

/// Joining the token's workers blocks.
async fn close(hsm: Hsm) -> Result<()> {
    tokio::task::spawn_blocking(move || hsm.close())
        .await
        .map_err(|e| Failure::error(format!("the token could not be closed: {e}")))
}

/// Reads a backup to its end, and proves its logs.
async fn prove(opened: &mut Opened<From>) -> Result<Told> {
    let mut told = Told::new(opened.header());
    let mut proving: Option<(verify::Source, OldLog)> = None;
    let mut words = Vec::new();
    let mut finish = |proving: Option<(verify::Source, OldLog)>| -> Result<()> {
        if let Some((source, log)) = proving {
            words.push(
                source
                    .finish(log.checkpoint.as_deref().unwrap_or_default())?
                    .to_string(),
            );
        }
        Ok(())
    };
    while let Some(item) = opened.next().await.map_err(bad)? {
        match item {
            Item::Log(log) => {
                finish(proving.take())?;
                if log.records > 0 {
                    proving = Some((verify::Source::new(&log.vkey, None)?, log));
                }
            }
            Item::Record(record) => {
                if let Some((source, _)) = &mut proving {
                    source.push(&record);
                }
            }
            Item::Table(..) | Item::Row(_) => {}
        }
    }
    finish(proving)?;
    let (rows, records) = opened.counted();
    told.rows = Some(rows);
    told.records = Some(records);
    told.logs = Some(words.join("; "));
    Ok(told)
}

/// The old logs as folders that `chancery audit verify --from` reads: first beside their place, then in it.
struct Kept {
    folder: PathBuf,
    part: PathBuf,
    open: Option<(Export, OldLog)>,
}

impl Kept {
    fn new(folder: PathBuf) -> Result<Self> {
        let part = beside(&folder, ".part");
        if part.exists() {
            // Of an attempt that did not come to its end.
            fs::remove_dir_all(&part)
                .map_err(|e| Failure::error(format!("`{}` cannot be removed: {e}", part.display())))?;
        }
        Ok(Self {
            folder,
            part,
            open: None,
        })
    }

    fn unwritable(&self, error: std::io::Error) -> Error {
        Error::unavailable(format!(
            "the old logs cannot be written to `{}`: {error}",
            self.folder.display()
        ))
    }

    fn end(&mut self) -> crate::error::Result<()> {
        let Some((export, log)) = self.open.take() else {
            return Ok(());
        };
        let node = self.part.join(&log.node);
        export
            .finish(log.checkpoint.as_deref().unwrap_or_default())
            .map_err(|e| self.unwritable(e))?;
        verify::verify_export(&node, &log.vkey, None)
            .map_err(|finding| Error::conflict(format!("the log in the backup does not verify: {finding}")))?;
        let key = self.part.join(format!("{}.vkey", log.node));
        fs::write(key, format!("{}\n", log.vkey)).map_err(|e| self.unwritable(e))
    }
}

impl OldLogs for Kept {
    fn begin(&mut self, log: &OldLog) -> crate::error::Result<()> {
        self.end()?;
        if log.records > 0 {
            // A name that is one part of a path.
            let node: Label = log.node.parse()?;
            let export = Export::begin(&self.part.join(node.as_str())).map_err(|e| self.unwritable(e))?;
            self.open = Some((export, log.clone()));
        }
        Ok(())
    }

    fn record(&mut self, record: &[u8]) -> crate::error::Result<()> {
        match &mut self.open {
            Some((export, _)) => export.push(record).map_err(|e| {
                Error::unavailable(format!(
                    "the old logs cannot be written to `{}`: {e}",
                    self.folder.display()
                ))
            }),
            None => Err(Error::conflict("the backup has records of no log")),
        }
    }

    fn finish(&mut self) -> crate::error::Result<()> {
        self.end()?;
        let settle = || {
            fs::create_dir_all(&self.part)?;
            fs::File::open(&self.part)?.sync_all()?;
            if self.folder.exists() {
                // CRASH: the same backup was put back before, up to here; what it has is what was written now.
                fs::remove_dir_all(&self.folder)?;
            }
            fs::rename(&self.part, &self.folder)?;
            match self.folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                Some(parent) => fs::File::open(parent)?.sync_all(),
                None => Ok(()),
            }
        };
        settle().map_err(|e| self.unwritable(e))
    }
}

/// The path with something behind its last part.
fn beside(path: &Path, behind: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(behind);
    path.with_file_name(name)
}

fn short(id: &str) -> String {
    id.chars().take(8).collect()
}

/// The backup is not what it should be.
fn bad(error: Error) -> Failure {
    match error.kind() {
        Kind::Conflict => Failure::new(Exit::CheckFailed, error.detail()),
        _ => failed(error),
    }
}

/// It is not put back.
fn refused(error: Error) -> Failure {
    match error.kind() {
        Kind::Conflict => Failure::new(Exit::Conflict, error.detail()),
        _ => failed(error),
    }
}
