//! What a backup has of other nodes' logs, and what of the rows must not live on as it was.

use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::{Expr, ExprTrait as _, Query};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::item::OldLog;
use crate::error::{Error, Result};
use crate::store::entity::{audit_entry, audit_log, authority_issuer, crl, dek, outbox, token_key};
use crate::store::{Restoring, Snapshot};

/// By how much CRL numbers are raised: no service publishes so many lists between a backup and its loss, and 2^31
/// restores fit what the database counts up to.
pub(super) const CRL_NUMBERS: i64 = 1 << 32;
/// More sealings than any data key is good for.
const USED_UP: i64 = 1 << 32;

/// The logs of all nodes but this one.
pub(super) async fn others(snapshot: &Snapshot, node: &str) -> Result<Vec<OldLog>> {
    let rows = audit_log::Entity::find()
        .filter(audit_log::Column::Node.ne(node))
        .order_by_asc(audit_log::Column::Node)
        .all(snapshot.conn())
        .await?;
    let mut logs = Vec::new();
    for row in rows {
        let newest = audit_entry::Entity::find()
            .filter(audit_entry::Column::Log.eq(row.node.as_str()))
            .select_only()
            .column(audit_entry::Column::Idx)
            .order_by_desc(audit_entry::Column::Idx)
            .into_tuple::<i64>()
            .one(snapshot.conn())
            .await?;
        // One that has fewer rows here than are signed keeps its records on its own disk.
        let has_all = newest.is_some_and(|newest| newest >= row.size - 1);
        logs.push(OldLog {
            node: row.node,
            origin: row.origin,
            vkey: row.vkey,
            checkpoint: row.checkpoint,
            records: if has_all {
                u64::try_from(row.size).unwrap_or(0)
            } else {
                0
            },
        });
    }
    Ok(logs)
}

/// Records of another node's log from index `from` on, `most` at most.
pub(super) async fn records(snapshot: &Snapshot, node: &str, from: u64, most: u64) -> Result<Vec<Vec<u8>>> {
    let from = i64::try_from(from).map_err(|e| Error::internal("a log is too long").because(e))?;
    let rows = audit_entry::Entity::find()
        .filter(audit_entry::Column::Log.eq(node))
        .filter(audit_entry::Column::Idx.gte(from))
        .order_by_asc(audit_entry::Column::Idx)
        .limit(most)
        .all(snapshot.conn())
        .await?;
    Ok(rows.into_iter().map(|row| row.record).collect())
}

/// Changes what must not live on as it was: the service that the backup was made from went on after it.
pub(super) async fn renew(restoring: &Restoring) -> Result<()> {
    let conn = restoring.conn();
    // SECURITY: numbers that the lost service may have given out are not given out again (RFC 5280 §5.2.3), and a newer
    // list than those that are kept replaces what it published.
    authority_issuer::Entity::update_many()
        .col_expr(
            authority_issuer::Column::CrlNumber,
            Expr::col(authority_issuer::Column::CrlNumber).add(CRL_NUMBERS),
        )
        .exec(conn)
        .await?;
    let ours = Query::select()
        .column(token_key::Column::Label)
        .from(token_key::Entity)
        .to_owned();
    crl::Entity::delete_many()
        .filter(crl::Column::Issuer.in_subquery(ours))
        .exec(conn)
        .await?;
    // SECURITY: nobody knows how many nonces of these keys the lost service used: they open, and others seal.
    dek::Entity::update_many()
        .col_expr(dek::Column::Reserved, Expr::value(USED_UP))
        .exec(conn)
        .await?;
    Ok(())
}

/// Registers the new log of a node, and has this record become its first.
pub(super) async fn begin_log(restoring: &Restoring, node: &str, origin: &str, first: (String, Vec<u8>)) -> Result<()> {
    let log = audit_log::ActiveModel {
        node: Set(node.to_owned()),
        origin: Set(origin.to_owned()),
        // The log's opening says it.
        vkey: Set(String::new()),
        size: Set(0),
        checkpoint: Set(None),
        epoch: Set(0),
        outbox_seq: Set(0),
        frontier: Set(None),
    };
    audit_log::Entity::insert(log)
        .exec_without_returning(restoring.conn())
        .await?;
    let (record_id, record) = first;
    let first = outbox::ActiveModel {
        node: Set(node.to_owned()),
        seq: Set(1),
        record_id: Set(record_id),
        record: Set(record),
    };
    outbox::Entity::insert(first)
        .exec_without_returning(restoring.conn())
        .await?;
    Ok(())
}
