//! The table `vault`, and what all that is in a vault has in common.

use sea_orm::sea_query::{Expr, ExprTrait, Query, SelectStatement, UpdateStatement};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect,
};

use super::cache::Key;
use super::retention::{Kept, Until};
use super::vaults::VaultEntry;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::{Id, Label};
use crate::store::entity::{certificate, vault};
use crate::store::{self, Store, Tx};

pub(super) async fn insert_vault(tx: &Tx, entry: &VaultEntry) -> Result<()> {
    vault::Entity::insert(vault::ActiveModel {
        name: Set(entry.name.to_string()),
        created_at: Set(entry.created.unix()),
        created_by: Set(entry.created_by.clone()),
        tags: Set(Some(json(entry)?)),
        retention_days: Set(Some(i64::from(entry.retention_days))),
        purge_protection: Set(entry.purge_protection),
        revision: Set(1),
        deleted_at: Set(None),
        purge_at: Set(None),
    })
    .exec_without_returning(tx.conn())
    .await
    .map_err(|e| match store::is_unique_violation(&e) {
        true => Error::conflict(format!(
            "vault `{}` exists already: use it, or choose another name",
            entry.name
        )),
        false => e.into(),
    })?;
    Ok(())
}

/// A vault, deleted or not.
pub(super) async fn vault(conn: &impl ConnectionTrait, name: &Label) -> Result<Option<VaultEntry>> {
    let row = vault::Entity::find_by_id(name.as_str()).one(conn).await?;
    row.map(VaultEntry::try_from).transpose()
}

/// As [`vault()`], outside a transaction.
pub(super) async fn show(store: &Store, name: &Label) -> Result<Option<VaultEntry>> {
    vault(store.read(), name).await
}

/// As [`vault()`]; nobody else changes it until the commit.
pub(super) async fn locked(tx: &Tx, name: &Label) -> Result<Option<VaultEntry>> {
    let row = vault::Entity::find_by_id(name.as_str())
        .lock_exclusive()
        .one(tx.conn())
        .await?;
    row.map(VaultEntry::try_from).transpose()
}

pub(super) async fn vaults(store: &Store, deleted: bool, after: Option<&Label>, limit: u64) -> Result<Vec<VaultEntry>> {
    let which = match deleted {
        true => vault::Column::DeletedAt.is_not_null(),
        false => vault::Column::DeletedAt.is_null(),
    };
    let mut query = vault::Entity::find()
        .filter(which)
        .order_by_asc(vault::Column::Name)
        .limit(limit);
    if let Some(after) = after {
        query = query.filter(vault::Column::Name.gt(after.as_str()));
    }
    query
        .all(store.read())
        .await?
        .into_iter()
        .map(VaultEntry::try_from)
        .collect()
}

/// Writes what can be changed of a locked vault, and moves it to its next revision.
pub(super) async fn update_vault(tx: &Tx, entry: &VaultEntry) -> Result<()> {
    let mut update = row(&entry.name);
    update
        .value(vault::Column::Tags, json(entry)?)
        .value(vault::Column::RetentionDays, i64::from(entry.retention_days))
        .value(vault::Column::PurgeProtection, entry.purge_protection)
        .value(vault::Column::DeletedAt, entry.until.map(|until| until.deleted.unix()))
        .value(
            vault::Column::PurgeAt,
            entry.until.map(|until| until.recoverable_until.unix()),
        )
        .value(vault::Column::Revision, Expr::col(vault::Column::Revision).add(1));
    tx.conn().execute(&update).await?;
    Ok(())
}

/// Whether a vault has certificate objects.
pub(super) async fn has_certificates(tx: &Tx, name: &Label) -> Result<bool> {
    let found = certificate::Entity::find()
        .filter(certificate::Column::Vault.eq(name.as_str()))
        .limit(1)
        .count(tx.conn())
        .await?;
    Ok(found > 0)
}

/// Removes for good some of what is in a deleted vault, at most `most` of each kind, and then the vault; whether all is
/// gone.
pub(super) async fn remove(tx: &Tx, name: &Label, most: u64) -> Result<bool> {
    let mut all = true;
    for kept in Kept::ALL {
        let mut some = Query::select();
        some.column("id")
            .from(kept.table())
            .and_where(Expr::col("vault").eq(name.as_str()))
            .limit(most);
        let mut delete = Query::delete();
        delete
            .from_table(kept.table())
            .and_where(Expr::col("id").in_subquery(some));
        all &= tx.conn().execute(&delete).await?.rows_affected() < most;
    }
    if all {
        vault::Entity::delete_by_id(name.as_str()).exec(tx.conn()).await?;
    }
    Ok(all)
}

/// A vault that is no longer kept at `now`.
pub(super) async fn ended(store: &Store, now: Timestamp) -> Result<Option<Label>> {
    let row = vault::Entity::find()
        .filter(vault::Column::PurgeAt.lte(now.unix()))
        .order_by_asc(vault::Column::PurgeAt)
        .one(store.read())
        .await?;
    row.map(|row| row.name.parse()).transpose()
}

/// That there is this vault, and that it is not deleted.
pub(super) fn is_live(name: &Label) -> Expr {
    Expr::exists(
        Query::select()
            .expr(Expr::val(1))
            .from(vault::Entity)
            .and_where(Expr::col((vault::Entity, vault::Column::Name)).eq(name.as_str()))
            .and_where(Expr::col((vault::Entity, vault::Column::DeletedAt)).is_null())
            .to_owned(),
    )
}

/// A new object's row, if its vault is there: id, vault, name, 1 (newest version), 1 (revision), `now`, `now`.
pub(super) fn in_live_vault(key: &Key, id: &Id, now: Timestamp) -> SelectStatement {
    Query::select()
        .expr(Expr::val(id.to_string()))
        .column((vault::Entity, vault::Column::Name))
        .expr(Expr::val(key.name.as_str()))
        .expr(Expr::val(1_i64))
        .expr(Expr::val(1_i64))
        .expr(Expr::val(now.unix()))
        .expr(Expr::val(now.unix()))
        .from(vault::Entity)
        .and_where(Expr::col((vault::Entity, vault::Column::Name)).eq(key.vault.as_str()))
        .and_where(Expr::col((vault::Entity, vault::Column::DeletedAt)).is_null())
        .to_owned()
}

fn row(name: &Label) -> UpdateStatement {
    Query::update()
        .table(vault::Entity)
        .and_where(Expr::col(vault::Column::Name).eq(name.as_str()))
        .to_owned()
}

fn json(entry: &VaultEntry) -> Result<String> {
    serde_json::to_string(&entry.tags).map_err(|e| Error::internal("tags are not JSON").because(e))
}

impl TryFrom<vault::Model> for VaultEntry {
    type Error = Error;
    fn try_from(row: vault::Model) -> Result<Self> {
        let tags = row.tags.as_deref().map(serde_json::from_str).transpose();
        let days = row.retention_days.map(u32::try_from).transpose();
        Ok(Self {
            name: row.name.parse()?,
            created: Timestamp::from_unix(row.created_at),
            created_by: row.created_by,
            tags: tags
                .map_err(|e| Error::internal("tags are not JSON").because(e))?
                .unwrap_or_default(),
            retention_days: days
                .map_err(|e| Error::internal("a retention is no number of days").because(e))?
                .unwrap_or(super::RETENTION_DAYS),
            purge_protection: row.purge_protection,
            revision: u64::try_from(row.revision).map_err(|e| Error::internal("a revision is negative").because(e))?,
            until: row.deleted_at.zip(row.purge_at).map(|(deleted, until)| Until {
                deleted: Timestamp::from_unix(deleted),
                recoverable_until: Timestamp::from_unix(until),
            }),
        })
    }
}
