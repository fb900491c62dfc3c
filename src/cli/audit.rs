//! `chancery audit export|index|prove|search|verify`.
//!
//! Holds where records come from and what the outcome means to a script; `export` writes them, `verify` judges them.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::exit::{Exit, Failure, Result};
use super::export::Export;
use super::output::Columns;
use super::progress::Progress;
use super::search::SearchLog;
use super::session::Session;
use super::verify::{self, Finding, Report, Source};
use crate::client::Client;
use crate::wire;

const EXPORT_COLUMNS: Columns = &[("FOLDER", "folder"), ("RECORDS", "records")];

const REBUILD_COLUMNS: Columns = &[("NODE", "node")];

const JUDGED_COLUMNS: Columns = &[
    ("ORIGIN", "origin"),
    ("INDEX", "index"),
    ("SINCE", "since"),
    ("SIZE", "size"),
    ("TIME", "record.time"),
    ("CALLER", "record.caller.id"),
    ("ACTION", "record.action"),
    ("RESOURCE", "record.resource"),
    ("OUTCOME", "record.outcome"),
];

const REPORT_COLUMNS: Columns = &[
    ("ORIGIN", "origin"),
    ("PROVEN", "proven"),
    ("UNPROVEN", "unproven"),
    ("SINCE", "since"),
];

#[derive(Args)]
pub(super) struct Audit {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Write the log as static files, with a fresh signed checkpoint
    Export(ExportLog),
    /// Look after the index that the log is searched by
    Index(IndexCommand),
    /// Write a proof that a record is in the log, or that the log only grew, as a file for `verify --proof`
    Prove(ProveLog),
    /// Find records by what they say, the newest first
    Search(Box<SearchLog>),
    /// Prove the log against the audit key: the running service's, or an exported one offline
    Verify(VerifyLog),
}

#[derive(Args)]
struct ExportLog {
    /// A new or empty folder
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

#[derive(Args)]
struct IndexCommand {
    #[command(subcommand)]
    verb: IndexVerb,
}

#[derive(Subcommand)]
enum IndexVerb {
    /// Make the index anew from the log, while it is used; the service goes on with it by itself
    Rebuild(RebuildIndex),
}

#[derive(Args)]
#[command(after_help = "Example:\n  chancery audit index rebuild")]
struct RebuildIndex {
    /// Of this node's log; the answering one's if it is left out
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
}

#[derive(Args)]
struct VerifyLog {
    /// An exported log; the running service's if it is left out
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// A proof that `chancery audit prove` wrote, instead of a whole log; one of growth needs --since
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    proof: Option<PathBuf>,
    /// The file with the log's public key (a C2SP verifier key), from another source than the log
    #[arg(long, env = "CHANCERY_AUDIT_KEY", hide_env_values = true, value_name = "FILE")]
    key: PathBuf,
    /// The file with an older checkpoint, or with many, as an anchor holds them: the log must contain all that they
    /// covered
    #[arg(long, value_name = "CHECKPOINT")]
    since: Option<PathBuf>,
}

#[derive(Args)]
#[command(after_help = "Example:\n  chancery audit prove --index 0 > first.tlog-proof")]
#[group(id = "what", required = true, multiple = false, args = ["index", "record", "since"])]
struct ProveLog {
    /// The record at this index
    #[arg(long, value_name = "N")]
    index: Option<u64>,
    /// The record with this id
    #[arg(long, value_name = "ID")]
    record: Option<String>,
    /// That everything that this older checkpoint covered is the log's beginning still
    #[arg(long, value_name = "CHECKPOINT")]
    since: Option<PathBuf>,
    /// In this node's log; the answering one's if it is left out
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
}

/// What a proof proves, as data.
#[derive(Serialize)]
struct Judged {
    origin: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<u64>,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<serde_json::Value>,
}

/// A proof, as data.
#[derive(Serialize)]
struct Proof<'a> {
    proof: &'a str,
}

/// What is proven, as data.
#[derive(Serialize)]
struct Proven {
    origin: String,
    proven: u64,
    unproven: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<u64>,
    open_intents: Vec<OpenIntent>,
}

#[derive(Serialize)]
struct OpenIntent {
    record: u64,
    id: String,
    time: String,
    action: String,
    resource: String,
}

/// What was written, as data.
#[derive(Serialize)]
struct Exported {
    folder: String,
    records: u64,
}

impl Audit {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        match self.verb {
            Verb::Export(export) => export.run(session).await,
            Verb::Index(IndexCommand {
                verb: IndexVerb::Rebuild(rebuild),
            }) => rebuild.run(session).await,
            Verb::Prove(prove) => prove.run(session).await,
            Verb::Search(search) => search.run(session).await,
            Verb::Verify(verify) => verify.run(session).await,
        }
    }
}

impl ExportLog {
    async fn run(self, session: &Session) -> Result<()> {
        let unwritable = |e| Failure::error(format!("the log cannot be written to `{}`: {e}", self.to.display()));
        let client = session.client()?;
        let checkpoint = client.audit_checkpoint(true).await?;
        let size = size_of(&checkpoint)?;
        let mut export = Export::begin(&self.to).map_err(|e| Failure::usage(e.to_string()))?;
        let mut written = 0;
        let mut log = Log::new(session, &client, size);
        while let Some(records) = log.next(written).await? {
            for record in records.iter().take(left(size, written)) {
                export.push(record).map_err(unwritable)?;
                written += 1;
            }
        }
        if written < size {
            return Err(Failure::new(
                Exit::CheckFailed,
                format!("the service has {written} records, but its checkpoint covers {size}: the log was cut"),
            ));
        }
        export.finish(&checkpoint).map_err(unwritable)?;
        drop(log);
        let exported = Exported {
            folder: self.to.display().to_string(),
            records: written,
        };
        session.out.one(&exported, EXPORT_COLUMNS)
    }
}

impl RebuildIndex {
    async fn run(self, session: &Session) -> Result<()> {
        let rebuild = wire::RebuildIndex { node: self.node };
        let begun = session.client()?.rebuild_audit_index(&rebuild).await?;
        session.out.one(&begun, REBUILD_COLUMNS)?;
        session.out.say(&format!(
            "the index of audit log `{}` is made anew; `chancery_audit_index_rebuild_records` says how many are left",
            begun.node
        ));
        Ok(())
    }
}

impl VerifyLog {
    async fn run(self, session: &Session) -> Result<()> {
        let key = session.text_of(&self.key).await?;
        // A key that is none is a wrong command line, not a wrong log.
        Source::new(&key, None)
            .map_err(|e| Failure::usage(format!("`{}` holds no audit key: {e}", self.key.display())))?;
        let since = match &self.since {
            Some(path) => Some(session.text_of(path).await?),
            None => None,
        };
        if let Some(path) = &self.proof {
            let proof = session.text_of(path).await?;
            return judge(session, &verify::verify_proof(&proof, &key, since.as_deref())?);
        }
        let report = match self.from {
            Some(folder) => offline(folder, key, since).await?,
            None => online(session, Source::new(&key, since.as_deref())?).await?,
        };
        tell(session, report)
    }
}

impl ProveLog {
    async fn run(self, session: &Session) -> Result<()> {
        let since = match &self.since {
            Some(path) => {
                let text = session.text_of(path).await?;
                // Of many, as an anchor holds them, the last one.
                let last = verify::checkpoints(&text).pop();
                let size = size_of(&text).and_then(|size| last.map_or(Ok(size), |last| size_of(&last)));
                Some(size.map_err(|_| {
                    Failure::usage(format!("`{}` is no checkpoint: give one that was kept", path.display()))
                })?)
            }
            None => None,
        };
        let query = wire::ProofQuery {
            index: self.index,
            node: self.node,
            record: self.record,
            since,
        };
        let proof = session.client()?.audit_proof(&query).await?;
        session.out.bare(proof.as_bytes(), &Proof { proof: &proof })
    }
}

/// Says what a proof proves.
fn judge(session: &Session, proven: &verify::Proven) -> Result<()> {
    let (words, judged) = match proven {
        verify::Proven::Included {
            origin,
            index,
            size,
            record,
        } => (
            format!("log `{origin}`: record {index} is among the {size} that were signed"),
            Judged {
                origin: origin.clone(),
                index: Some(*index),
                since: None,
                size: *size,
                record: serde_json::from_slice(record).ok(),
            },
        ),
        verify::Proven::Grown { origin, from, size } => (
            format!("log `{origin}`: the first {from} of the {size} records are as the older checkpoint had them"),
            Judged {
                origin: origin.clone(),
                index: None,
                since: Some(*from),
                size: *size,
                record: None,
            },
        ),
    };
    session.out.one(&judged, JUDGED_COLUMNS)?;
    session.out.say(&words);
    Ok(())
}

async fn offline(folder: PathBuf, key: String, since: Option<String>) -> Result<Report> {
    if !folder.is_dir() {
        return Err(Failure::usage(format!(
            "`{}` is no folder: give one that `chancery audit export` wrote",
            folder.display()
        )));
    }
    let judged = tokio::task::spawn_blocking(move || verify_folder(&folder, &key, since.as_deref())).await;
    judged.map_err(|e| Failure::error(format!("verifying was cut off: {e}")))?
}

fn verify_folder(folder: &Path, key: &str, since: Option<&str>) -> Result<Report> {
    Ok(verify::verify_export(folder, key, since)?)
}

async fn online(session: &Session, mut source: Source) -> Result<Report> {
    let client = session.client()?;
    // The checkpoint first: what is appended afterwards, our own reads among it, is only not proven yet.
    let checkpoint = client.audit_checkpoint(true).await?;
    let mut log = Log::new(session, &client, size_of(&checkpoint)?);
    while let Some(records) = log.next(source.size()).await? {
        records.iter().for_each(|record| source.push(record));
    }
    Ok(source.finish(&checkpoint)?)
}

fn tell(session: &Session, report: Report) -> Result<()> {
    let words = report.to_string();
    if session.out.is_table() {
        return super::output::write(format!("{}\n", super::output::printable(&words)).as_bytes());
    }
    let proven = Proven {
        origin: report.origin,
        proven: report.proven,
        unproven: report.unproven,
        since: report.since,
        open_intents: report
            .open_intents
            .into_iter()
            .map(|intent| OpenIntent {
                record: intent.record,
                id: intent.id,
                time: intent.time,
                action: intent.action,
                resource: intent.resource,
            })
            .collect(),
    };
    session.out.one(&proven, REPORT_COLUMNS)?;
    session.out.say(&words);
    Ok(())
}

/// The running service's records, up to a size.
struct Log<'a> {
    client: &'a Client,
    size: u64,
    progress: Progress<'a>,
}

impl<'a> Log<'a> {
    fn new(session: &'a Session, client: &'a Client, size: u64) -> Self {
        Self {
            client,
            size,
            progress: Progress::new(&session.out),
        }
    }

    /// The next records from index `from` on; none once the size is reached or the service has no more.
    async fn next(&mut self, from: u64) -> Result<Option<Vec<Vec<u8>>>> {
        if from >= self.size {
            return Ok(None);
        }
        self.progress.passing(&format!("{from} of {} records", self.size));
        let records = self.client.audit_entries(from, None).await.map_err(|error| {
            let failure = Failure::from(error);
            match failure.exit() {
                // The service found a record damaged before we could.
                Exit::Conflict => Failure::new(Exit::CheckFailed, failure.message()),
                _ => failure,
            }
        })?;
        Ok((!records.is_empty()).then_some(records))
    }
}

/// How many records are wanted still.
fn left(size: u64, written: u64) -> usize {
    usize::try_from(size.saturating_sub(written)).unwrap_or(usize::MAX)
}

/// How many records a checkpoint says that it covers (C2SP tlog-checkpoint: the second line). Whether that is true is
/// for `verify`.
fn size_of(checkpoint: &str) -> Result<u64> {
    checkpoint
        .lines()
        .nth(1)
        .and_then(|line| line.parse().ok())
        .ok_or_else(|| {
            Failure::error("the service's checkpoint is not understood: client and service may differ in version")
        })
}

impl From<Finding> for Failure {
    fn from(finding: Finding) -> Self {
        Self::new(Exit::CheckFailed, finding.to_string())
    }
}
