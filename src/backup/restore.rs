//! Putting a backup back into an empty database, on the service's host.

use std::collections::BTreeMap;

use tokio::io::AsyncRead;

use super::file::{Header, Opened};
use super::item::{Item, OldLog};
use super::repo;
use crate::audit::{self, CallerRef, Decision, Outcome, Record};
use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::error::{Error, Result};
use crate::fault;
use crate::id::{Id, Label};
use crate::policy::{Action, Resource, system};
use crate::store::{self, Restoring};

/// Where a backup is put back.
pub struct Target<'a> {
    /// The database, which must be empty.
    pub store: &'a store::Settings,
    /// Where the new audit log will be; no log may lie there.
    pub audit: &'a audit::Settings,
    /// The zone, which must be that of the backup.
    pub zone: &'a str,
    /// The node, which must be that of the backup.
    pub node: &'a Label,
    /// The time.
    pub clock: &'a dyn Clock,
    /// The randomness.
    pub entropy: &'a dyn Entropy,
}

/// Takes the records of the old logs, to be kept where a verifier reads them.
pub trait OldLogs {
    /// A log begins.
    ///
    /// # Errors
    /// If it cannot be kept.
    fn begin(&mut self, log: &OldLog) -> Result<()>;

    /// Its next record.
    ///
    /// # Errors
    /// If it cannot be kept.
    fn record(&mut self, record: &[u8]) -> Result<()>;

    /// There are no more: what was taken must be whole, and durable.
    ///
    /// # Errors
    /// If it is not.
    fn finish(&mut self) -> Result<()>;
}

/// A log that begins anew, and the one before it.
#[derive(Clone, Debug)]
pub struct NewLog {
    /// The new log's name.
    pub origin: String,
    /// The old log.
    pub old: OldLog,
}

/// What was put back.
#[derive(Clone, Debug)]
pub struct Restored {
    /// What the backup said of itself.
    pub header: Header,
    /// How many rows.
    pub rows: u64,
    /// How many records of old logs.
    pub records: u64,
    /// The logs.
    pub logs: Vec<NewLog>,
}

/// Puts a backup back, all of it or nothing.
///
/// # Errors
/// `Conflict` if the database is not empty, a log lies where the new one will be, the backup is of another zone or node,
/// or it is damaged; what keeps the old logs' records from being written.
pub async fn restore<R: AsyncRead + Unpin>(
    target: &Target<'_>,
    backup: &mut Opened<R>,
    logs: &mut (dyn OldLogs + Send),
) -> Result<Restored> {
    let header = backup.header().clone();
    for (what, theirs, ours) in [
        ("zone", &header.zone, target.zone.to_owned()),
        ("node", &header.node, target.node.to_string()),
    ] {
        if *theirs != ours {
            return Err(Error::conflict(format!(
                "the backup is of {what} `{theirs}`, and the configuration says `{ours}`: restore it under the same {what}"
            )));
        }
    }
    if target.audit.is_begun()? {
        return Err(Error::conflict(
            "a log lies in the folder that `audit.journal` names: move it to where it is kept (it may say more than the \
             backup), and leave the folder empty",
        ));
    }
    let restoring = Restoring::begin(target.store, target.node, &header.schema).await?;
    let old = fill(&restoring, backup, logs).await?;
    repo::renew(&restoring).await?;

    let id = Id::random(target.entropy)?;
    let mut begun = Vec::new();
    for old in old {
        let mark = hex::encode(id.as_bytes().first_chunk::<4>().unwrap_or(&[0; 4]));
        let origin = format!("{}/audit/{}/{mark}", target.zone, old.node);
        let first = first_record(target, &header, &old, &origin, id)?;
        repo::begin_log(&restoring, &old.node, &origin, (first.id.to_string(), first.to_bytes())).await?;
        begun.push(NewLog { origin, old });
    }
    // CRASH: the old logs are kept before the rows are; a second attempt writes the same logs again.
    logs.finish()?;
    fault::point("backup.restore.before");
    restoring.commit().await?;
    fault::point("backup.restore.after");
    let (rows, records) = backup.counted();
    Ok(Restored {
        header,
        rows,
        records,
        logs: begun,
    })
}

/// Adds every row, and hands on every log.
async fn fill<R: AsyncRead + Unpin>(
    restoring: &Restoring,
    backup: &mut Opened<R>,
    logs: &mut (dyn OldLogs + Send),
) -> Result<Vec<OldLog>> {
    let (mut table, mut columns, mut waiting) = (String::new(), Vec::new(), Vec::new());
    let mut old = Vec::new();
    while let Some(item) = backup.next().await? {
        match item {
            Item::Table(name, of) => {
                fault::point("backup.rows.before");
                restoring.insert(&table, &columns, &mut waiting).await?;
                fault::point("backup.rows.after");
                (table, columns) = (name, of);
            }
            Item::Row(row) => {
                waiting.push(row);
                if waiting.len() >= Restoring::together(columns.len()) {
                    restoring.insert(&table, &columns, &mut waiting).await?;
                }
            }
            Item::Log(log) => {
                logs.begin(&log)?;
                old.push(log);
            }
            Item::Record(record) => logs.record(&record)?,
        }
    }
    restoring.insert(&table, &columns, &mut waiting).await?;
    Ok(old)
}

/// The record that a new log begins with. It quotes the old log's last known checkpoint: whoever holds a later one sees
/// that the old log went on, or was forked.
fn first_record(target: &Target<'_>, header: &Header, old: &OldLog, origin: &str, request: Id) -> Result<Record> {
    let time_ms = target.clock.now_millis();
    let mut detail: BTreeMap<_, _> = [
        ("backup", header.id.clone()),
        ("made", header.made.clone()),
        ("log", origin.to_owned()),
        ("old_log", old.origin.clone()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    if let Some(checkpoint) = &old.checkpoint {
        // The note's lines: name, size, root (c2sp.org/tlog-checkpoint); whole, for its signature.
        for (name, line) in [("old_size", 1), ("old_root", 2)] {
            let line = checkpoint.lines().nth(line).unwrap_or_default();
            detail.insert(name.to_owned(), line.to_owned());
        }
        detail.insert("old_checkpoint".to_owned(), checkpoint.clone());
    }
    Ok(Record {
        id: Id::ordered(target.entropy, time_ms)?,
        time_ms,
        node: old.node.clone(),
        request,
        trace: None,
        caller: CallerRef {
            id: format!("system:{}", system::RESTORE),
            serial: None,
            source: None,
        },
        action: Action::RestoreBackup.to_string(),
        resource: Resource::Everything.to_string(),
        version: None,
        decision: Decision::Allow,
        policy: vec!["builtin:restore".to_owned()],
        outcome: Outcome::Done,
        detail,
        closes: None,
        count: None,
    })
}
