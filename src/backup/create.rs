//! Making a backup while the service runs.

use std::sync::Arc;

use futures::{FutureExt, StreamExt};
use tokio::sync::{Mutex, mpsc};

use super::file::{Header, Writer, json};
use super::item::{Counts, Head, Kind, OldLog, pack};
use super::repo;
use crate::audit::Log;
use crate::error::{Error, Result};
use crate::gate::{Effect, Operation, Permit};
use crate::id::Id;
use crate::policy::{Action, Resource};
use crate::seal::Sealer;
use crate::store::{Snapshot, Store, tables};

/// Records that are read together.
const TOGETHER: u64 = 1_000;

/// What backups are made of. Cheap to clone.
#[derive(Clone)]
pub struct Backups {
    store: Store,
    log: Log,
    sealer: Sealer,
    zone: String,
    /// Each holds a connection of few, and a state of the database that it cannot forget meanwhile: one at a time.
    turn: Arc<Mutex<()>>,
}

impl Backups {
    /// Of the service of this `zone`.
    pub fn new(store: Store, log: Log, sealer: Sealer, zone: String) -> Self {
        Self {
            store,
            log,
            sealer,
            zone,
            turn: Arc::default(),
        }
    }
}

/// Makes a backup of the whole service and sends it, a piece at a time. It is whole once the operation has ended well.
pub struct CreateBackup {
    /// Where it is sent.
    pub to: mpsc::Sender<Vec<u8>>,
}

impl Operation for CreateBackup {
    const ACTION: Action = Action::CreateBackup;
    const EFFECT: Effect = Effect::Act;
    type Engine = Backups;
    type Output = ();

    fn resource(&self) -> Resource {
        Resource::Everything
    }

    async fn run(self, backups: &Backups, permit: &Permit) -> Result<()> {
        let _turn = backups
            .turn
            .try_lock()
            .map_err(|_| Error::conflict("a backup is being made already: wait until it is done"))?;
        let id = Id::random(permit.entropy())?;
        permit.note("backup", id.to_string());
        // INVARIANT: the snapshot, then the intent, then the checkpoint over it. So the log of the backup has the record
        // of every change that its rows show, and names the backup itself, before a byte leaves.
        let snapshot = backups.store.snapshot().await?;
        permit.intend(|_| async { Ok(()) }.boxed()).await?;
        let newest = backups.store.newest_waiting().await?;
        let checkpoint = backups.log.sign_up_to(newest).await?;

        let header = Header {
            id: id.to_string(),
            made: permit.now().to_string(),
            release: env!("CARGO_PKG_VERSION").to_owned(),
            zone: backups.zone.clone(),
            node: backups.store.node().to_string(),
            kek: backups.sealer.kek().await?,
            checkpoint: checkpoint.to_string(),
            schema: snapshot.schema().to_vec(),
        };
        let mut writer = Writer::begin(self.to, &header, &backups.sealer).await?;
        let mut counts = Counts::default();
        send_rows(&mut writer, &snapshot, &mut counts).await?;
        for log in repo::others(&snapshot, backups.store.node().as_str()).await? {
            writer.item(Kind::Log, &json(&log)?).await?;
            let mut next = 0;
            while next < log.records {
                let records = repo::records(&snapshot, &log.node, next, TOGETHER.min(log.records - next)).await?;
                next += send_records(&mut writer, &records, &mut counts).await?;
            }
        }
        // Its rows are not needed any more, and the log is long.
        drop(snapshot);
        send_log(&mut writer, backups, &checkpoint, &mut counts).await?;
        let (hash, bytes) = writer.finish(counts).await?;
        permit.note("sha256", hash);
        permit.note("bytes", bytes.to_string());
        permit.note("rows", counts.rows.to_string());
        permit.note("records", counts.records.to_string());
        permit.commit(|_| async { Ok(()) }.boxed()).await
    }
}

async fn send_rows(writer: &mut Writer, snapshot: &Snapshot, counts: &mut Counts) -> Result<()> {
    for table in tables().into_iter().filter(|table| table.is_kept) {
        let head = Head {
            table: table.name.clone(),
            columns: table.columns.clone(),
        };
        writer.item(Kind::Table, &json(&head)?).await?;
        let mut rows = snapshot.rows(&table).await?;
        while let Some(row) = rows.next().await {
            writer.item(Kind::Row, &pack(&row?)?).await?;
            counts.rows += 1;
        }
    }
    Ok(())
}

async fn send_records(writer: &mut Writer, records: &[Vec<u8>], counts: &mut Counts) -> Result<u64> {
    if records.is_empty() {
        return Err(Error::conflict(
            "audit records that were signed are missing, so no backup is made: see `chancery audit verify`",
        ));
    }
    for record in records {
        writer.item(Kind::Record, record).await?;
    }
    let count = u64::try_from(records.len()).unwrap_or(u64::MAX);
    counts.records += count;
    Ok(count)
}

/// This node's own log, up to the checkpoint.
async fn send_log(writer: &mut Writer, backups: &Backups, checkpoint: &str, counts: &mut Counts) -> Result<()> {
    let mut lines = checkpoint.lines();
    let origin = lines.next().unwrap_or_default().to_owned();
    let size = lines.next().and_then(|line| line.parse().ok());
    let size: u64 = size.ok_or_else(|| Error::internal("a checkpoint of ours has no size"))?;
    let log = OldLog {
        node: backups.store.node().to_string(),
        origin,
        vkey: backups.log.verifier_key(),
        checkpoint: Some(checkpoint.to_owned()),
        records: size,
    };
    writer.item(Kind::Log, &json(&log)?).await?;
    let mut next = 0;
    while next < size {
        let entries = backups.log.entries(next, TOGETHER.min(size - next)).await?;
        next += send_records(writer, &entries.records, counts).await?;
    }
    Ok(())
}
