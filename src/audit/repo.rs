//! The audit log's rows: the register of logs with their newest checkpoints, the outbox that a start drains, and the
//! records of nodes without a disk.

use std::sync::Arc;

use futures::FutureExt as _;
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};

use crate::error::Result;
use crate::store::entity::{audit_entry, audit_log, outbox, outbox_position};
use crate::store::{Drained, OutboxRecord, Store};

/// Rows of one insert; three values each, within SQLite's and PostgreSQL's bounds.
const ROWS: usize = 5_000;

/// A log as the store knows it.
pub(super) struct Registered {
    pub(super) origin: String,
    /// The newest checkpoint; `None` before the first.
    pub(super) checkpoint: Option<String>,
}

/// This node's log, if it is registered.
pub(super) async fn registered(store: &Store) -> Result<Option<Registered>> {
    let row = audit_log::Entity::find_by_id(store.node().as_str())
        .one(store.read())
        .await?;
    Ok(row.map(|row| Registered {
        origin: row.origin,
        checkpoint: row.checkpoint,
    }))
}

/// Registers this node's log, or renews its entry.
pub(super) async fn register(store: &Store, origin: &str, vkey: &str) -> Result<()> {
    let row = audit_log::ActiveModel {
        node: Set(store.node().to_string()),
        origin: Set(origin.to_owned()),
        vkey: Set(vkey.to_owned()),
        size: Set(0),
        checkpoint: Set(None),
    };
    store
        .transact(move |tx| {
            let row = row.clone();
            async move {
                audit_log::Entity::insert(row)
                    .on_conflict(
                        OnConflict::column(audit_log::Column::Node)
                            .update_columns([audit_log::Column::Origin, audit_log::Column::Vkey])
                            .to_owned(),
                    )
                    .exec_without_returning(tx.conn())
                    .await?;
                Ok(())
            }
            .boxed()
        })
        .await
}

/// Keeps the newest checkpoint.
pub(super) async fn keep_checkpoint(store: &Store, size: u64, checkpoint: &str) -> Result<()> {
    let node = store.node().to_string();
    let checkpoint = checkpoint.to_owned();
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    store
        .transact(move |tx| {
            let row = audit_log::ActiveModel {
                node: Set(node.clone()),
                size: Set(size),
                checkpoint: Set(Some(checkpoint.clone())),
                ..Default::default()
            };
            async move {
                audit_log::Entity::update(row).exec(tx.conn()).await?;
                Ok(())
            }
            .boxed()
        })
        .await
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

/// Records `from..` with their indexes, at most `max`.
pub(super) async fn entries(store: &Store, from: u64, max: u64) -> Result<Vec<(u64, Vec<u8>)>> {
    let rows = audit_entry::Entity::find()
        .filter(audit_entry::Column::Log.eq(store.node().as_str()))
        .filter(audit_entry::Column::Idx.gte(i64::try_from(from).unwrap_or(i64::MAX)))
        .order_by_asc(audit_entry::Column::Idx)
        .limit(max)
        .all(store.read())
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| (u64::try_from(row.idx).unwrap_or(u64::MAX), row.record))
        .collect())
}

/// Inserts `records` from index `first` on.
pub(super) async fn insert_entries(store: &Store, first: u64, records: Arc<[Vec<u8>]>) -> Result<()> {
    let log = store.node().to_string();
    store
        .transact(move |tx| {
            let (log, records) = (log.clone(), records.clone());
            async move {
                let mut rows = (first..)
                    .zip(records.iter())
                    .map(|(index, record)| audit_entry::ActiveModel {
                        log: Set(log.clone()),
                        idx: Set(i64::try_from(index).unwrap_or(i64::MAX)),
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

/// Deletes the rows from index `first` on: those of a batch that was never acknowledged.
pub(super) async fn delete_entries(store: &Store, first: u64) -> Result<()> {
    let log = store.node().to_string();
    store
        .transact(move |tx| {
            let log = log.clone();
            async move {
                audit_entry::Entity::delete_many()
                    .filter(audit_entry::Column::Log.eq(log))
                    .filter(audit_entry::Column::Idx.gte(i64::try_from(first).unwrap_or(i64::MAX)))
                    .exec(tx.conn())
                    .await?;
                Ok(())
            }
            .boxed()
        })
        .await
}
