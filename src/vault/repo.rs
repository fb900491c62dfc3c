//! The tables `vault`, `secret` and `secret_version`.

use std::sync::Arc;

use sea_orm::sea_query::{Expr, ExprTrait, OnConflict, Query, SelectStatement};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QueryResult,
    QuerySelect, SqlErr,
};

use super::cache::{Key, Row};
use super::retention::Deleted;
use super::vaults::{VaultEntry, no_vault};
use super::version::{Described, Tags, Version, VersionRef};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::{Id, Label, ObjectName};
use crate::store::entity::{secret, secret_version, vault};
use crate::store::{self, Store, Tx};

/// A version's row, sealed, with what it takes to open it.
pub(super) struct Sealed {
    pub(super) version: Arc<Version>,
    pub(super) domain: String,
    pub(super) binding: Vec<u8>,
    pub(super) sealed: Vec<u8>,
}

impl Sealed {
    pub(super) fn new(vault: &Label, name: &ObjectName, version: Version, sealed: Vec<u8>) -> Self {
        Self {
            domain: super::domain(vault),
            binding: super::binding(name, &version),
            version: Arc::new(version),
            sealed,
        }
    }
}

impl Row for Sealed {
    fn bytes(&self) -> usize {
        self.sealed.len()
    }
}

/// What a look for a secret found.
pub(super) enum Found<T> {
    /// No secret of this name.
    Nothing,
    /// One that was deleted.
    Deleted(Deleted),
    /// It is there; `None` if it has no such version.
    Live(Option<T>),
}

/// Where [`write`] put a value.
pub(super) struct Slot {
    pub(super) secret_id: String,
    pub(super) ordinal: i64,
}

pub(super) async fn insert_vault(tx: &Tx, entry: &VaultEntry) -> Result<()> {
    vault::Entity::insert(vault::ActiveModel {
        name: Set(entry.name.to_string()),
        created_at: Set(entry.created.unix()),
        created_by: Set(entry.created_by.clone()),
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

pub(super) async fn vault(store: &Store, name: &Label) -> Result<Option<VaultEntry>> {
    let row = vault::Entity::find_by_id(name.as_str()).one(store.read()).await?;
    row.map(VaultEntry::try_from).transpose()
}

pub(super) async fn vaults(store: &Store, after: Option<&Label>, limit: u64) -> Result<Vec<VaultEntry>> {
    let mut query = vault::Entity::find().order_by_asc(vault::Column::Name).limit(limit);
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

impl TryFrom<vault::Model> for VaultEntry {
    type Error = Error;
    fn try_from(row: vault::Model) -> Result<Self> {
        Ok(Self {
            name: row.name.parse()?,
            created: Timestamp::from_unix(row.created_at),
            created_by: row.created_by,
        })
    }
}

/// The sealed value of a version.
pub(super) async fn sealed(store: &Store, key: &Key, version: VersionRef) -> Result<Found<Sealed>> {
    let mut query = joined(version);
    query
        .column((secret_version::Entity, secret_version::Column::Sealed))
        .and_where(Expr::col((secret::Entity, secret::Column::Vault)).eq(key.vault.as_str()))
        .and_where(Expr::col((secret::Entity, secret::Column::Name)).eq(key.name.as_str()));
    let Some(row) = store.read().query_one(&query).await? else {
        return Ok(Found::Nothing);
    };
    if let Some(deleted) = deleted(&key.name, &row)? {
        return Ok(Found::Deleted(deleted));
    }
    let Some(version) = read_version(&row)? else {
        return Ok(Found::Live(None));
    };
    let sealed = Sealed::new(&key.vault, &key.name, version, row.try_get("", "sealed")?);
    Ok(Found::Live(Some(sealed)))
}

/// What is known about a secret.
pub(super) async fn described(conn: &impl ConnectionTrait, key: &Key) -> Result<Found<Described>> {
    let mut query = joined(VersionRef::Current);
    query
        .and_where(Expr::col((secret::Entity, secret::Column::Vault)).eq(key.vault.as_str()))
        .and_where(Expr::col((secret::Entity, secret::Column::Name)).eq(key.name.as_str()));
    let Some(row) = conn.query_one(&query).await? else {
        return Ok(Found::Nothing);
    };
    match deleted(&key.name, &row)? {
        Some(deleted) => Ok(Found::Deleted(deleted)),
        None => Ok(Found::Live(read_described(&row)?)),
    }
}

/// As [`described`], outside a transaction.
pub(super) async fn show(store: &Store, key: &Key) -> Result<Found<Described>> {
    described(store.read(), key).await
}

/// Live secrets in the order of their names.
pub(super) async fn list(
    store: &Store,
    vault: &Label,
    after: Option<&ObjectName>,
    limit: u64,
) -> Result<Vec<Described>> {
    let mut query = joined(VersionRef::Current);
    query
        .and_where(Expr::col((secret::Entity, secret::Column::Vault)).eq(vault.as_str()))
        .and_where(Expr::col((secret::Entity, secret::Column::DeletedAt)).is_null())
        .order_by((secret::Entity, secret::Column::Name), sea_orm::Order::Asc)
        .limit(limit);
    if let Some(after) = after {
        query.and_where(Expr::col((secret::Entity, secret::Column::Name)).gt(after.as_str()));
    }
    let rows = store.read().query_all(&query).await?;
    rows.iter().filter_map(|row| read_described(row).transpose()).collect()
}

/// The versions of a live secret, newest first, below `before`.
pub(super) async fn versions(store: &Store, key: &Key, before: Option<u64>, limit: u64) -> Result<Vec<Version>> {
    let mut query = Query::select();
    version_columns(&mut query)
        .from(secret::Entity)
        .inner_join(secret_version::Entity, same_secret())
        .and_where(Expr::col((secret::Entity, secret::Column::Vault)).eq(key.vault.as_str()))
        .and_where(Expr::col((secret::Entity, secret::Column::Name)).eq(key.name.as_str()))
        .and_where(Expr::col((secret::Entity, secret::Column::DeletedAt)).is_null())
        .order_by(
            (secret_version::Entity, secret_version::Column::Ordinal),
            sea_orm::Order::Desc,
        )
        .limit(limit);
    if let Some(before) = before {
        let before = i64::try_from(before).unwrap_or(i64::MAX);
        query.and_where(Expr::col((secret_version::Entity, secret_version::Column::Ordinal)).lt(before));
    }
    let rows = store.read().query_all(&query).await?;
    rows.iter().filter_map(|row| read_version(row).transpose()).collect()
}

/// The next place in the secret's history, the secret made if it is new; `None` if it is deleted.
pub(super) async fn take_slot(tx: &Tx, key: &Key, new_id: &Id, now: Timestamp) -> Result<Option<Slot>> {
    let mut insert = insert_secret(key, new_id, now);
    insert.on_conflict(
        OnConflict::columns([secret::Column::Vault, secret::Column::Name])
            .value(
                secret::Column::Latest,
                Expr::col((secret::Entity, secret::Column::Latest)).add(1),
            )
            .value(secret::Column::UpdatedAt, now.unix())
            .action_and_where(Expr::col((secret::Entity, secret::Column::DeletedAt)).is_null())
            .to_owned(),
    );
    slot(tx.conn().query_one(&insert).await.map_err(|e| no_parent(key, e))?)
}

/// The first place of a secret that must be new; `None` if it is there, deleted or not.
pub(super) async fn take_first_slot(tx: &Tx, key: &Key, new_id: &Id, now: Timestamp) -> Result<Option<Slot>> {
    let mut insert = insert_secret(key, new_id, now);
    insert.on_conflict(
        OnConflict::columns([secret::Column::Vault, secret::Column::Name])
            .do_nothing()
            .to_owned(),
    );
    slot(tx.conn().query_one(&insert).await.map_err(|e| no_parent(key, e))?)
}

/// The next place of a live secret whose current version has this ordinal; `None` if it is not so.
pub(super) async fn take_slot_after(tx: &Tx, key: &Key, ordinal: u64, now: Timestamp) -> Result<Option<Slot>> {
    let mut update = Query::update();
    update
        .table(secret::Entity)
        .value(secret::Column::Latest, Expr::col(secret::Column::Latest).add(1))
        .value(secret::Column::UpdatedAt, now.unix())
        .and_where(Expr::col(secret::Column::Vault).eq(key.vault.as_str()))
        .and_where(Expr::col(secret::Column::Name).eq(key.name.as_str()))
        .and_where(Expr::col(secret::Column::DeletedAt).is_null())
        .and_where(Expr::col(secret::Column::Latest).eq(i64::try_from(ordinal).unwrap_or(i64::MAX)))
        .returning(Query::returning().columns([secret::Column::Id, secret::Column::Latest]));
    slot(tx.conn().query_one(&update).await?)
}

/// Puts a sealed version into its place.
pub(super) async fn insert_version(tx: &Tx, slot: &Slot, version: &Version, sealed: Vec<u8>) -> Result<()> {
    let tags = serde_json::to_string(&version.tags).map_err(|e| Error::internal("tags are not JSON").because(e))?;
    secret_version::Entity::insert(secret_version::ActiveModel {
        id: Set(version.id.to_string()),
        secret_id: Set(slot.secret_id.clone()),
        ordinal: Set(slot.ordinal),
        content_type: Set(version.content_type.as_ref().map(|it| it.as_str().to_owned())),
        tags: Set(tags),
        sealed: Set(sealed),
        created_at: Set(version.created.unix()),
        created_by: Set(version.created_by.clone()),
    })
    .exec_without_returning(tx.conn())
    .await?;
    Ok(())
}

fn insert_secret(key: &Key, new_id: &Id, now: Timestamp) -> sea_orm::sea_query::InsertStatement {
    Query::insert()
        .into_table(secret::Entity)
        .columns([
            secret::Column::Id,
            secret::Column::Vault,
            secret::Column::Name,
            secret::Column::Latest,
            secret::Column::CreatedAt,
            secret::Column::UpdatedAt,
        ])
        .values_panic([
            new_id.to_string().into(),
            key.vault.as_str().into(),
            key.name.as_str().into(),
            1_i64.into(),
            now.unix().into(),
            now.unix().into(),
        ])
        .returning(Query::returning().columns([secret::Column::Id, secret::Column::Latest]))
        .to_owned()
}

fn no_parent(key: &Key, error: DbErr) -> Error {
    match error.sql_err() {
        Some(SqlErr::ForeignKeyConstraintViolation(_)) => no_vault(&key.vault),
        _ => error.into(),
    }
}

fn slot(row: Option<QueryResult>) -> Result<Option<Slot>> {
    row.map(|row| {
        Ok(Slot {
            secret_id: row.try_get("", "id")?,
            ordinal: row.try_get("", "latest")?,
        })
    })
    .transpose()
}

fn same_secret() -> Expr {
    Expr::col((secret_version::Entity, secret_version::Column::SecretId)).equals((secret::Entity, secret::Column::Id))
}

/// Secrets, each with the version that is meant, if it has it.
fn joined(version: VersionRef) -> SelectStatement {
    let ordinal = || Expr::col((secret_version::Entity, secret_version::Column::Ordinal));
    let meant = match version {
        VersionRef::Current => ordinal().equals((secret::Entity, secret::Column::Latest)),
        VersionRef::Id(id) => Expr::col((secret_version::Entity, secret_version::Column::Id)).eq(id.to_string()),
        VersionRef::Ordinal(meant) => ordinal().eq(i64::try_from(meant).unwrap_or(i64::MAX)),
    };
    let mut query = Query::select();
    version_columns(&mut query)
        .columns([
            (secret::Entity, secret::Column::Name),
            (secret::Entity, secret::Column::UpdatedAt),
            (secret::Entity, secret::Column::DeletedAt),
            (secret::Entity, secret::Column::PurgeAt),
        ])
        .expr_as(
            Expr::col((secret::Entity, secret::Column::CreatedAt)),
            "secret_created_at",
        )
        .from(secret::Entity)
        .left_join(secret_version::Entity, same_secret().and(meant));
    query
}

fn version_columns(query: &mut SelectStatement) -> &mut SelectStatement {
    query.columns([
        (secret_version::Entity, secret_version::Column::Id),
        (secret_version::Entity, secret_version::Column::Ordinal),
        (secret_version::Entity, secret_version::Column::ContentType),
        (secret_version::Entity, secret_version::Column::Tags),
        (secret_version::Entity, secret_version::Column::CreatedAt),
        (secret_version::Entity, secret_version::Column::CreatedBy),
    ])
}

/// The version in a joined row; `None` if the secret has no such version.
fn read_version(row: &QueryResult) -> Result<Option<Version>> {
    let Some(id) = row.try_get::<Option<String>>("", "id")? else {
        return Ok(None);
    };
    let content_type: Option<String> = row.try_get("", "content_type")?;
    let tags: String = row.try_get("", "tags")?;
    let ordinal: i64 = row.try_get("", "ordinal")?;
    Ok(Some(Version {
        id: id.parse()?,
        ordinal: u64::try_from(ordinal).map_err(|e| Error::internal("an ordinal is negative").because(e))?,
        content_type: content_type.map(|text| text.parse()).transpose()?,
        tags: serde_json::from_str::<Tags>(&tags).map_err(|e| Error::internal("tags are not JSON").because(e))?,
        created: Timestamp::from_unix(row.try_get("", "created_at")?),
        created_by: row.try_get("", "created_by")?,
    }))
}

fn read_described(row: &QueryResult) -> Result<Option<Described>> {
    let Some(current) = read_version(row)? else {
        return Ok(None);
    };
    let name: String = row.try_get("", "name")?;
    Ok(Some(Described {
        name: name.parse()?,
        created: Timestamp::from_unix(row.try_get("", "secret_created_at")?),
        updated: Timestamp::from_unix(row.try_get("", "updated_at")?),
        current,
    }))
}

fn deleted(name: &ObjectName, row: &QueryResult) -> Result<Option<Deleted>> {
    let (Some(deleted), Some(until)) = (row.try_get("", "deleted_at")?, row.try_get("", "purge_at")?) else {
        return Ok(None);
    };
    Ok(Some(Deleted {
        name: name.clone(),
        deleted: Timestamp::from_unix(deleted),
        recoverable_until: Timestamp::from_unix(until),
    }))
}
