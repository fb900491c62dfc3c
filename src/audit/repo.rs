//! The audit log's rows: the register of logs with their newest checkpoints, the outbox that a start drains, and the
//! records of nodes without a disk.
//!
//! INVARIANT: what writes a log's rows holds its row in the register meanwhile, and writes only while the register says
//! that this process opened the log last. So of two processes under one node's name the older stops, whatever it
//! believes, and a commit in doubt has come or will never come once the register's row can be had.

use std::sync::Arc;

use futures::FutureExt as _;
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict};
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};

use super::tree::Tree;
use crate::error::{Error, Result};
use crate::store::entity::{audit_entry, audit_log, outbox, outbox_position};
use crate::store::{Drained, OutboxRecord, Store, Tx};

/// Rows of one insert; three values each, within SQLite's and PostgreSQL's bounds.
const ROWS: usize = 5_000;

/// A log as the store knows it.
pub(super) struct Registered {
    pub(super) origin: String,
    /// The newest checkpoint; `None` before the first.
    pub(super) checkpoint: Option<String>,
    /// The frontier of its tree, if it was kept.
    pub(super) frontier: Option<Vec<u8>>,
    /// How far the outbox was drained when it was kept.
    pub(super) drained: Drained,
}

/// This process's right to write its node's log: it opened it last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Epoch(i64);

/// This node's log, if it is registered.
pub(super) async fn registered(store: &Store) -> Result<Option<Registered>> {
    let row = audit_log::Entity::find_by_id(store.node().as_str())
        .one(store.read())
        .await?;
    Ok(row.map(|row| Registered {
        origin: row.origin,
        checkpoint: row.checkpoint,
        frontier: row.frontier,
        drained: Drained {
            seq: row.outbox_seq,
            log_size: row.size,
        },
    }))
}

/// Registers this node's log, or renews its entry. From now on no other process writes it: what one has begun is
/// committed or will never be.
pub(super) async fn open(store: &Store, origin: &str, vkey: &str) -> Result<Epoch> {
    let row = audit_log::ActiveModel {
        node: Set(store.node().to_string()),
        origin: Set(origin.to_owned()),
        vkey: Set(vkey.to_owned()),
        size: Set(0),
        checkpoint: Set(None),
        epoch: Set(1),
        outbox_seq: Set(0),
        frontier: Set(None),
    };
    let node = store.node().to_string();
    store
        .transact(move |tx| {
            let (row, node) = (row.clone(), node.clone());
            async move {
                audit_log::Entity::insert(row)
                    .on_conflict(
                        OnConflict::column(audit_log::Column::Node)
                            .update_columns([audit_log::Column::Origin, audit_log::Column::Vkey])
                            .value(
                                audit_log::Column::Epoch,
                                Expr::col((audit_log::Entity, audit_log::Column::Epoch)).add(1),
                            )
                            .to_owned(),
                    )
                    .exec_without_returning(tx.conn())
                    .await?;
                let row = audit_log::Entity::find_by_id(node).one(tx.conn()).await?;
                row.map(|row| Epoch(row.epoch))
                    .ok_or_else(|| Error::internal("the audit log's register lost an entry as it was made"))
            }
            .boxed()
        })
        .await
}

/// Keeps the newest checkpoint, and the tree that it covers. Every record of the outbox up to `outbox_seq` is in the
/// log, and every other one is not among the tree's.
pub(super) async fn keep_checkpoint(
    store: &Store,
    epoch: Epoch,
    tree: &Tree,
    checkpoint: &str,
    outbox_seq: i64,
) -> Result<()> {
    let node = store.node().to_string();
    let checkpoint = checkpoint.to_owned();
    let (size, frontier) = (to_index(tree.size()), tree.frontier());
    store
        .transact(move |tx| {
            let row = audit_log::ActiveModel {
                size: Set(size),
                checkpoint: Set(Some(checkpoint.clone())),
                outbox_seq: Set(outbox_seq),
                frontier: Set(Some(frontier.clone())),
                ..Default::default()
            };
            let node = node.clone();
            async move {
                let kept = audit_log::Entity::update_many()
                    .set(row)
                    .filter(audit_log::Column::Node.eq(node.as_str()))
                    .filter(audit_log::Column::Epoch.eq(epoch.0))
                    .exec(tx.conn())
                    .await?;
                (kept.rows_affected == 1).then_some(()).ok_or_else(|| taken_over(&node))
            }
            .boxed()
        })
        .await
}

fn taken_over(node: &str) -> Error {
    Error::conflict(format!(
        "another process has opened the audit log of node `{node}`: stop one of the two, give each node its own name, \
         then restart"
    ))
}

/// How far the outbox is drained, as of the last commit that said so.
pub(super) async fn drained(store: &Store) -> Result<Drained> {
    let row = outbox_position::Entity::find_by_id(store.node().as_str())
        .one(store.read())
        .await?;
    Ok(row.map_or_else(Drained::default, |row| Drained {
        seq: row.seq,
        log_size: row.log_size,
    }))
}

/// What waits in the outbox, in commit order.
pub(super) async fn outbox(store: &Store) -> Result<Vec<OutboxRecord>> {
    let rows = outbox::Entity::find()
        .filter(outbox::Column::Node.eq(store.node().as_str()))
        .order_by_asc(outbox::Column::Seq)
        .all(store.read())
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| OutboxRecord {
            seq: row.seq,
            id: row.record_id,
            bytes: row.record,
        })
        .collect())
}

/// Records `from..` of a node's log, at most `max`.
///
/// # Errors
/// `Conflict` if one of them is missing.
pub(super) async fn entries(store: &Store, log: &str, from: u64, max: u64) -> Result<Vec<Vec<u8>>> {
    let rows = audit_entry::Entity::find()
        .filter(audit_entry::Column::Log.eq(log))
        .filter(audit_entry::Column::Idx.gte(to_index(from)))
        .order_by_asc(audit_entry::Column::Idx)
        .limit(max)
        .all(store.read())
        .await?;
    rows.into_iter()
        .zip(from..)
        .map(|(row, index)| match row.idx == to_index(index) {
            true => Ok(row.record),
            false => Err(Error::conflict(format!(
                "audit record {index} of node `{log}` is missing from table audit_entry: restore the table"
            ))),
        })
        .collect()
}

/// The records of a node's log at these positions, in order.
///
/// # Errors
/// `Conflict` if one of them is missing.
pub(super) async fn pick(store: &Store, log: &str, positions: &[u64]) -> Result<Vec<Vec<u8>>> {
    let rows = audit_entry::Entity::find()
        .filter(audit_entry::Column::Log.eq(log))
        .filter(audit_entry::Column::Idx.is_in(positions.iter().map(|position| to_index(*position))))
        .order_by_asc(audit_entry::Column::Idx)
        .all(store.read())
        .await?;
    if rows.len() != positions.len() {
        return Err(Error::conflict(format!(
            "audit records of node `{log}` are missing from table audit_entry: restore the table"
        )));
    }
    Ok(rows.into_iter().map(|row| row.record).collect())
}

/// A log in the register: whose it is, and how many of its records its newest checkpoint covers.
pub(super) struct Known {
    pub(super) node: String,
    pub(super) signed: u64,
}

/// All logs.
pub(super) async fn logs(store: &Store) -> Result<Vec<Known>> {
    let rows = audit_log::Entity::find()
        .select_only()
        .column(audit_log::Column::Node)
        .column(audit_log::Column::Size)
        .order_by_asc(audit_log::Column::Node)
        .into_tuple::<(String, i64)>()
        .all(store.read())
        .await?;
    let known = |(node, size)| Known {
        node,
        signed: u64::try_from(size).unwrap_or(0),
    };
    Ok(rows.into_iter().map(known).collect())
}

/// The newest checkpoint of a node's log.
pub(super) async fn checkpoint(store: &Store, node: &str) -> Result<Option<String>> {
    let row = audit_log::Entity::find_by_id(node).one(store.read()).await?;
    Ok(row.and_then(|row| row.checkpoint))
}

/// How many records of a node's log are rows.
pub(super) async fn rows_of(store: &Store, log: &str) -> Result<u64> {
    let last = audit_entry::Entity::find()
        .filter(audit_entry::Column::Log.eq(log))
        .select_only()
        .column(audit_entry::Column::Idx)
        .order_by_desc(audit_entry::Column::Idx)
        .into_tuple::<i64>()
        .one(store.read())
        .await?;
    Ok(last
        .and_then(|last| u64::try_from(last).ok())
        .map_or(0, |last| last + 1))
}

/// Inserts `records` from index `first` on.
pub(super) async fn insert_entries(store: &Store, epoch: Epoch, first: u64, records: Arc<[Vec<u8>]>) -> Result<()> {
    let log = store.node().to_string();
    store
        .transact(move |tx| {
            let (log, records) = (log.clone(), records.clone());
            async move {
                let held = audit_log::Entity::find_by_id(log.as_str())
                    .filter(audit_log::Column::Epoch.eq(epoch.0))
                    .lock_shared()
                    .one(tx.conn())
                    .await?;
                held.ok_or_else(|| taken_over(&log))?;
                let mut rows = (first..)
                    .zip(records.iter())
                    .map(|(index, record)| audit_entry::ActiveModel {
                        log: Set(log.clone()),
                        idx: Set(to_index(index)),
                        record: Set(record.clone()),
                    });
                loop {
                    let some: Vec<_> = rows.by_ref().take(ROWS).collect();
                    if some.is_empty() {
                        return Ok(());
                    }
                    audit_entry::Entity::insert_many(some)
                        .exec_without_returning(tx.conn())
                        .await?;
                }
            }
            .boxed()
        })
        .await
}

/// Deletes what stands from index `first` on if it is exactly `batch`, which nobody was told is durable. `false`: other
/// rows stand there.
pub(super) async fn take_back(store: &Store, epoch: Epoch, first: u64, batch: Arc<[Vec<u8>]>) -> Result<bool> {
    let log = store.node().to_string();
    store
        .transact(move |tx| {
            let (log, batch) = (log.clone(), batch.clone());
            async move {
                hold(tx, &log, epoch).await?;
                let behind = || {
                    audit_entry::Column::Log
                        .eq(log.as_str())
                        .and(audit_entry::Column::Idx.gte(to_index(first)))
                };
                let found = audit_entry::Entity::find()
                    .filter(behind())
                    .order_by_asc(audit_entry::Column::Idx)
                    .limit(u64::try_from(batch.len()).unwrap_or(u64::MAX).saturating_add(1))
                    .all(tx.conn())
                    .await?;
                let same = found.iter().map(|row| &row.record).eq(batch.iter());
                if same {
                    audit_entry::Entity::delete_many()
                        .filter(behind())
                        .exec(tx.conn())
                        .await?;
                }
                Ok(same || found.is_empty())
            }
            .boxed()
        })
        .await
}

/// Waits until no other transaction holds the log's row in the register, and holds it alone.
async fn hold(tx: &Tx, node: &str, epoch: Epoch) -> Result<()> {
    let held = audit_log::Entity::update_many()
        .col_expr(audit_log::Column::Epoch, Expr::value(epoch.0))
        .filter(audit_log::Column::Node.eq(node))
        .filter(audit_log::Column::Epoch.eq(epoch.0))
        .exec(tx.conn())
        .await?;
    (held.rows_affected == 1).then_some(()).ok_or_else(|| taken_over(node))
}

fn to_index(index: u64) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX)
}
