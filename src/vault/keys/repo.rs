//! The tables `vault_key` and `vault_key_version`.

use sea_orm::sea_query::{Expr, ExprTrait, OnConflict, Order, Query, SelectStatement};
use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait, QueryResult};

use super::using::Sealed;
use super::version::{Attributes, KeyDescribed, KeyVersion};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::{Id, Label, ObjectName};
use crate::store::entity::{vault_key, vault_key_version};
use crate::store::{Store, Tx};
use crate::vault::backup::too_many;
use crate::vault::cache::Key;
use crate::vault::repo::{in_live_vault, is_live};
use crate::vault::retention::Kept;
use crate::vault::retention::repo::{Fate, fate};
use crate::vault::version::{Tags, VersionRef};

/// A place in a key's history, just taken.
pub(super) struct Slot {
    pub(super) key_id: String,
    pub(super) ordinal: u64,
    pub(super) revision: u64,
}

/// What a look for a key found.
pub(super) enum Found<T> {
    /// It is not there.
    Gone(Fate),
    /// It is there; `None` if it has no such version.
    Live(Option<T>),
}

/// A version with its sealed private half, and the key's id.
pub(super) async fn sealed(store: &Store, key: &Key, wanted: VersionRef) -> Result<Found<(Id, Sealed)>> {
    let mut query = joined(wanted);
    named(&mut query, key).column((vault_key_version::Entity, vault_key_version::Column::Sealed));
    let Some(row) = store.read().query_one(&query).await? else {
        return gone(store.read(), key).await;
    };
    let Some(version) = read_version(&row)? else {
        return Ok(Found::Live(None));
    };
    let id: String = row.try_get("", "key_id")?;
    Ok(Found::Live(Some((
        id.parse()?,
        Sealed::new(key, version, row.try_get("", "sealed")?),
    ))))
}

/// A key with all its versions, oldest first.
pub(super) struct Whole {
    pub(super) id: Id,
    pub(super) created: Timestamp,
    pub(super) revision: u64,
    pub(super) rows: Vec<Sealed>,
}

/// All of a key, as it is at one moment; `Conflict` if it has more than `most` versions.
pub(super) async fn whole(store: &Store, key: &Key, most: usize) -> Result<Found<Whole>> {
    let mut query = Query::select();
    version_columns(&mut query)
        .column((vault_key_version::Entity, vault_key_version::Column::Sealed))
        .column((vault_key::Entity, vault_key::Column::Revision))
        .expr_as(Expr::col((vault_key::Entity, vault_key::Column::Id)), "key_id")
        .expr_as(
            Expr::col((vault_key::Entity, vault_key::Column::CreatedAt)),
            "key_created_at",
        )
        .from(vault_key::Entity)
        .inner_join(vault_key_version::Entity, same_key())
        .and_where(Expr::col((vault_key::Entity, vault_key::Column::DeletedAt)).is_null())
        .order_by(
            (vault_key_version::Entity, vault_key_version::Column::Ordinal),
            Order::Asc,
        )
        .limit(u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1));
    let rows = store.read().query_all(named(&mut query, key)).await?;
    let Some(first) = rows.first() else {
        return gone(store.read(), key).await;
    };
    if rows.len() > most {
        return Err(too_many(Kept::Key, key, most));
    }
    let id: String = first.try_get("", "key_id")?;
    let mut whole = Whole {
        id: id.parse()?,
        created: Timestamp::from_unix(first.try_get("", "key_created_at")?),
        revision: natural(first, "revision")?,
        rows: Vec::with_capacity(rows.len()),
    };
    for row in &rows {
        if let Some(version) = read_version(row)? {
            whole.rows.push(Sealed::new(key, version, row.try_get("", "sealed")?));
        }
    }
    Ok(Found::Live(Some(whole)))
}

/// Whether there is a key with this id, in any vault, deleted or not.
pub(super) async fn is_there(tx: &Tx, id: &Id) -> Result<bool> {
    let found = vault_key::Entity::find_by_id(id.to_string()).one(tx.conn()).await?;
    Ok(found.is_some())
}

/// Says of a key that was just put there how far its history goes, and when it began.
pub(super) async fn place(tx: &Tx, slot: &Slot, created: Timestamp) -> Result<()> {
    let mut update = Query::update();
    update
        .table(vault_key::Entity)
        .value(vault_key::Column::Latest, number(slot.ordinal))
        .value(vault_key::Column::Revision, number(slot.revision))
        .value(vault_key::Column::CreatedAt, created.unix())
        .and_where(Expr::col(vault_key::Column::Id).eq(slot.key_id.as_str()));
    tx.conn().execute(&update).await?;
    Ok(())
}

/// What is known about a key and the version that is meant.
pub(super) async fn described(
    conn: &impl ConnectionTrait,
    key: &Key,
    wanted: VersionRef,
) -> Result<Found<KeyDescribed>> {
    let mut query = joined(wanted);
    named(&mut query, key);
    match conn.query_one(&query).await? {
        Some(row) => Ok(Found::Live(read_described(&row)?)),
        None => gone(conn, key).await,
    }
}

/// As [`described`], outside a transaction.
pub(super) async fn show(store: &Store, key: &Key, wanted: VersionRef) -> Result<Found<KeyDescribed>> {
    described(store.read(), key, wanted).await
}

async fn gone<T>(conn: &impl ConnectionTrait, key: &Key) -> Result<Found<T>> {
    match fate(conn, Kept::Key, key).await? {
        // It was recovered or made between the two queries: it was not there when it was asked for.
        Fate::Live => Ok(Found::Gone(Fate::Nothing)),
        fate => Ok(Found::Gone(fate)),
    }
}

/// Live keys in the order of their names.
pub(super) async fn list(
    store: &Store,
    vault: &Label,
    after: Option<&ObjectName>,
    limit: u64,
) -> Result<Vec<KeyDescribed>> {
    let mut query = joined(VersionRef::Current);
    query
        .and_where(Expr::col((vault_key::Entity, vault_key::Column::Vault)).eq(vault.as_str()))
        .and_where(is_live(vault))
        .order_by((vault_key::Entity, vault_key::Column::Name), Order::Asc)
        .limit(limit);
    if let Some(after) = after {
        query.and_where(Expr::col((vault_key::Entity, vault_key::Column::Name)).gt(after.as_str()));
    }
    let rows = store.read().query_all(&query).await?;
    rows.iter().filter_map(|row| read_described(row).transpose()).collect()
}

/// The versions of a live key, newest first, below `before`.
pub(super) async fn versions(store: &Store, key: &Key, before: Option<u64>, limit: u64) -> Result<Vec<KeyVersion>> {
    let mut query = Query::select();
    version_columns(&mut query)
        .from(vault_key::Entity)
        .inner_join(vault_key_version::Entity, same_key())
        .and_where(Expr::col((vault_key::Entity, vault_key::Column::DeletedAt)).is_null())
        .order_by(
            (vault_key_version::Entity, vault_key_version::Column::Ordinal),
            Order::Desc,
        )
        .limit(limit);
    named(&mut query, key);
    if let Some(before) = before {
        query.and_where(Expr::col((vault_key_version::Entity, vault_key_version::Column::Ordinal)).lt(number(before)));
    }
    let rows = store.read().query_all(&query).await?;
    rows.iter().filter_map(|row| read_version(row).transpose()).collect()
}

/// The first place of a key that must be new; `None` if it is there, deleted or not, or if there is no such vault.
pub(super) async fn take_first_slot(tx: &Tx, key: &Key, new_id: &Id, now: Timestamp) -> Result<Option<Slot>> {
    let insert = Query::insert()
        .into_table(vault_key::Entity)
        .columns([
            vault_key::Column::Id,
            vault_key::Column::Vault,
            vault_key::Column::Name,
            vault_key::Column::Latest,
            vault_key::Column::Revision,
            vault_key::Column::CreatedAt,
            vault_key::Column::UpdatedAt,
        ])
        .select_from(in_live_vault(key, new_id, now))
        .map_err(|e| Error::internal("a row does not fit its columns").because(e))?
        .on_conflict(
            OnConflict::columns([vault_key::Column::Vault, vault_key::Column::Name])
                .do_nothing()
                .to_owned(),
        )
        .returning(slot_columns())
        .to_owned();
    let row = tx.conn().query_one(&insert).await?;
    row.map(|row| slot(&row)).transpose()
}

/// Moves a live key to its next revision, and with `next_version` to the next place in its history; `None` if it is not
/// there, or not at the revision that is expected.
pub(super) async fn advance(
    tx: &Tx,
    key: &Key,
    expect: Option<u64>,
    next_version: bool,
    now: Timestamp,
) -> Result<Option<Slot>> {
    let mut update = Query::update();
    update
        .table(vault_key::Entity)
        .value(
            vault_key::Column::Revision,
            Expr::col(vault_key::Column::Revision).add(1),
        )
        .value(vault_key::Column::UpdatedAt, now.unix())
        .and_where(Expr::col(vault_key::Column::Vault).eq(key.vault.as_str()))
        .and_where(Expr::col(vault_key::Column::Name).eq(key.name.as_str()))
        .and_where(Expr::col(vault_key::Column::DeletedAt).is_null())
        .returning(slot_columns());
    if next_version {
        update.value(vault_key::Column::Latest, Expr::col(vault_key::Column::Latest).add(1));
    }
    if let Some(revision) = expect {
        update.and_where(Expr::col(vault_key::Column::Revision).eq(number(revision)));
    }
    let row = tx.conn().query_one(&update).await?;
    row.map(|row| slot(&row)).transpose()
}

/// Puts a sealed version into its place.
pub(super) async fn insert_version(tx: &Tx, slot: &Slot, version: &KeyVersion, sealed: Vec<u8>) -> Result<()> {
    let Attributes {
        enabled,
        not_before,
        expires,
        ops,
        tags,
    } = &version.attributes;
    vault_key_version::Entity::insert(vault_key_version::ActiveModel {
        id: Set(version.id.to_string()),
        key_id: Set(slot.key_id.clone()),
        ordinal: Set(number(version.ordinal)),
        kind: Set(version.kind.to_string()),
        protection: Set(version.protection.to_string()),
        exportable: Set(version.exportable),
        enabled: Set(*enabled),
        not_before: Set(not_before.map(Timestamp::unix)),
        expires: Set(expires.map(Timestamp::unix)),
        ops: Set(ops.to_string()),
        tags: Set(json(tags)?),
        sealed: Set(sealed),
        public: Set(version.public.clone()),
        created_at: Set(version.created.unix()),
        created_by: Set(version.created_by.clone()),
        updated_at: Set(version.updated.unix()),
    })
    .exec_without_returning(tx.conn())
    .await?;
    Ok(())
}

/// Writes a version's attributes.
pub(super) async fn update_version(tx: &Tx, version: &KeyVersion) -> Result<()> {
    let Attributes {
        enabled,
        not_before,
        expires,
        ops,
        tags,
    } = &version.attributes;
    let mut update = Query::update();
    update
        .table(vault_key_version::Entity)
        .value(vault_key_version::Column::Enabled, *enabled)
        .value(vault_key_version::Column::NotBefore, not_before.map(Timestamp::unix))
        .value(vault_key_version::Column::Expires, expires.map(Timestamp::unix))
        .value(vault_key_version::Column::Ops, ops.to_string())
        .value(vault_key_version::Column::Tags, json(tags)?)
        .value(vault_key_version::Column::UpdatedAt, version.updated.unix())
        .and_where(Expr::col(vault_key_version::Column::Id).eq(version.id.to_string()));
    tx.conn().execute(&update).await?;
    Ok(())
}

fn json(tags: &Tags) -> Result<String> {
    serde_json::to_string(tags).map_err(|e| Error::internal("tags are not JSON").because(e))
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn slot_columns() -> sea_orm::sea_query::ReturningClause {
    Query::returning().columns([
        vault_key::Column::Id,
        vault_key::Column::Latest,
        vault_key::Column::Revision,
    ])
}

fn slot(row: &QueryResult) -> Result<Slot> {
    Ok(Slot {
        key_id: row.try_get("", "id")?,
        ordinal: natural(row, "latest")?,
        revision: natural(row, "revision")?,
    })
}

fn natural(row: &QueryResult, column: &str) -> Result<u64> {
    let value: i64 = row.try_get("", column)?;
    u64::try_from(value).map_err(|e| Error::internal(format!("`{column}` is negative")).because(e))
}

fn same_key() -> Expr {
    Expr::col((vault_key_version::Entity, vault_key_version::Column::KeyId))
        .equals((vault_key::Entity, vault_key::Column::Id))
}

fn named<'q>(query: &'q mut SelectStatement, key: &Key) -> &'q mut SelectStatement {
    query
        .and_where(Expr::col((vault_key::Entity, vault_key::Column::Vault)).eq(key.vault.as_str()))
        .and_where(Expr::col((vault_key::Entity, vault_key::Column::Name)).eq(key.name.as_str()))
        .and_where(is_live(&key.vault))
}

/// Live keys, each with the version that is meant, if it has it.
fn joined(wanted: VersionRef) -> SelectStatement {
    let ordinal = || Expr::col((vault_key_version::Entity, vault_key_version::Column::Ordinal));
    let meant = match wanted {
        VersionRef::Current => ordinal().equals((vault_key::Entity, vault_key::Column::Latest)),
        VersionRef::Id(id) => Expr::col((vault_key_version::Entity, vault_key_version::Column::Id)).eq(id.to_string()),
        VersionRef::Ordinal(meant) => ordinal().eq(number(meant)),
    };
    let mut query = Query::select();
    version_columns(&mut query)
        .columns([
            (vault_key::Entity, vault_key::Column::Name),
            (vault_key::Entity, vault_key::Column::Revision),
            (vault_key::Entity, vault_key::Column::Latest),
        ])
        .expr_as(Expr::col((vault_key::Entity, vault_key::Column::Id)), "key_id")
        .from(vault_key::Entity)
        .left_join(vault_key_version::Entity, same_key().and(meant))
        .and_where(Expr::col((vault_key::Entity, vault_key::Column::DeletedAt)).is_null());
    query
}

fn version_columns(query: &mut SelectStatement) -> &mut SelectStatement {
    use vault_key_version::Column::{
        CreatedAt, CreatedBy, Enabled, Expires, Exportable, Id, Kind, NotBefore, Ops, Ordinal, Protection, Public,
        Tags, UpdatedAt,
    };
    query.columns(
        [
            Id, Ordinal, Kind, Protection, Exportable, Enabled, NotBefore, Expires, Ops, Tags, Public, CreatedAt,
            CreatedBy, UpdatedAt,
        ]
        .map(|column| (vault_key_version::Entity, column)),
    )
}

/// The version in a joined row; `None` if the key has no such version.
fn read_version(row: &QueryResult) -> Result<Option<KeyVersion>> {
    let Some(id) = row.try_get::<Option<String>>("", "id")? else {
        return Ok(None);
    };
    let time = |column: &str| -> Result<Option<Timestamp>> {
        Ok(row.try_get::<Option<i64>>("", column)?.map(Timestamp::from_unix))
    };
    let (kind, protection, ops, tags): (String, String, String, String) = (
        row.try_get("", "kind")?,
        row.try_get("", "protection")?,
        row.try_get("", "ops")?,
        row.try_get("", "tags")?,
    );
    Ok(Some(KeyVersion {
        id: id.parse()?,
        ordinal: natural(row, "ordinal")?,
        kind: kind.parse()?,
        protection: protection.parse()?,
        exportable: row.try_get("", "exportable")?,
        attributes: Attributes {
            enabled: row.try_get("", "enabled")?,
            not_before: time("not_before")?,
            expires: time("expires")?,
            ops: ops.parse()?,
            tags: serde_json::from_str(&tags).map_err(|e| Error::internal("tags are not JSON").because(e))?,
        },
        public: row.try_get("", "public")?,
        created: Timestamp::from_unix(row.try_get("", "created_at")?),
        created_by: row.try_get("", "created_by")?,
        updated: Timestamp::from_unix(row.try_get("", "updated_at")?),
    }))
}

fn read_described(row: &QueryResult) -> Result<Option<KeyDescribed>> {
    let Some(version) = read_version(row)? else {
        return Ok(None);
    };
    let (id, name): (String, String) = (row.try_get("", "key_id")?, row.try_get("", "name")?);
    Ok(Some(KeyDescribed {
        id: id.parse()?,
        name: name.parse()?,
        revision: natural(row, "revision")?,
        latest: natural(row, "latest")?,
        version,
    }))
}
