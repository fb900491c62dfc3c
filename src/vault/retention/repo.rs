//! What the tables `secret` and `vault_key` have in common: names, and marks of deletion.

use sea_orm::ConnectionTrait;
use sea_orm::sea_query::{Expr, ExprTrait, Order, Query};

use super::{Deleted, Kept};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::id::Label;
use crate::store::Tx;
use crate::vault::cache::Key;

/// What has become of an object.
pub(in crate::vault) enum Fate {
    /// There is none of this name.
    Nothing,
    /// It was deleted.
    Deleted(Deleted),
    /// It is there.
    Live,
}

impl Kept {
    pub(in crate::vault) const fn table(self) -> &'static str {
        match self {
            Self::Key => "vault_key",
            Self::Secret => "secret",
        }
    }
}

pub(in crate::vault) async fn fate(conn: &impl ConnectionTrait, kept: Kept, key: &Key) -> Result<Fate> {
    let mut query = Query::select();
    query
        .columns(["deleted_at", "purge_at"])
        .from(kept.table())
        .and_where(Expr::col("vault").eq(key.vault.as_str()))
        .and_where(Expr::col("name").eq(key.name.as_str()));
    let Some(row) = conn.query_one(&query).await? else {
        return Ok(Fate::Nothing);
    };
    let (deleted, until): (Option<i64>, Option<i64>) = (row.try_get("", "deleted_at")?, row.try_get("", "purge_at")?);
    Ok(match (deleted, until) {
        (Some(deleted), Some(until)) => Fate::Deleted(Deleted {
            name: key.name.clone(),
            deleted: Timestamp::from_unix(deleted),
            recoverable_until: Timestamp::from_unix(until),
        }),
        _ => Fate::Live,
    })
}

/// Marks a live object deleted; whether there was one.
pub(in crate::vault) async fn mark_deleted(tx: &Tx, kept: Kept, vault: &Label, deleted: &Deleted) -> Result<bool> {
    let mut update = Query::update();
    update
        .table(kept.table())
        .value("deleted_at", deleted.deleted.unix())
        .value("purge_at", deleted.recoverable_until.unix())
        .and_where(Expr::col("vault").eq(vault.as_str()))
        .and_where(Expr::col("name").eq(deleted.name.as_str()))
        .and_where(Expr::col("deleted_at").is_null());
    Ok(tx.conn().execute(&update).await?.rows_affected() > 0)
}

/// Brings a deleted object back that is still kept at `now`; whether there was one.
pub(in crate::vault) async fn unmark_deleted(tx: &Tx, kept: Kept, key: &Key, now: Timestamp) -> Result<bool> {
    let mut update = Query::update();
    update
        .table(kept.table())
        .value("deleted_at", None::<i64>)
        .value("purge_at", None::<i64>)
        .and_where(Expr::col("vault").eq(key.vault.as_str()))
        .and_where(Expr::col("name").eq(key.name.as_str()))
        .and_where(Expr::col("purge_at").gt(now.unix()));
    Ok(tx.conn().execute(&update).await?.rows_affected() > 0)
}

/// Removes for good, with every version, an object that is no longer kept at `now`.
pub(in crate::vault) async fn purge(tx: &Tx, kept: Kept, key: &Key, now: Timestamp) -> Result<()> {
    let mut delete = Query::delete();
    delete
        .from_table(kept.table())
        .and_where(Expr::col("vault").eq(key.vault.as_str()))
        .and_where(Expr::col("name").eq(key.name.as_str()))
        .and_where(Expr::col("purge_at").lte(now.unix()));
    tx.conn().execute(&delete).await?;
    Ok(())
}

/// Objects that are no longer kept at `now`, `most` of them.
pub(in crate::vault) async fn ended(
    conn: &impl ConnectionTrait,
    kept: Kept,
    now: Timestamp,
    most: u64,
) -> Result<Vec<Key>> {
    let mut query = Query::select();
    query
        .columns(["vault", "name"])
        .from(kept.table())
        .and_where(Expr::col("purge_at").lte(now.unix()))
        .order_by("purge_at", Order::Asc)
        .limit(most);
    let rows = conn.query_all(&query).await?;
    let keys = rows.into_iter().map(|row| {
        let (vault, name): (String, String) = (row.try_get("", "vault")?, row.try_get("", "name")?);
        Ok(Key {
            vault: vault.parse()?,
            name: name.parse()?,
        })
    });
    keys.collect()
}
