//! The tables `secret` and `secret_version`: reading.

use std::sync::Arc;

use sea_orm::sea_query::{Expr, ExprTrait, Func, LikeExpr, Order, Query, SelectStatement};
use sea_orm::{ConnectionTrait, DbBackend, QueryResult};

use super::filter::SecretFilter;
use super::label::{Pointers, WhichVersion};
use super::version::{Described, SecretAttributes, Version};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::{IdempotencyKey, Label, ObjectName};
use crate::store::Store;
use crate::store::entity::{secret, secret_version};
use crate::vault::backup::too_many;
use crate::vault::cache::{Key, Row};
use crate::vault::repo::is_live;
use crate::vault::retention::{Deleted, Kept};
use crate::vault::version::{Tags, VersionRef};

/// A version's row, sealed, with what it takes to open it.
pub(in crate::vault) struct Sealed {
    pub(super) version: Arc<Version>,
    pub(super) domain: String,
    pub(super) binding: Vec<u8>,
    pub(super) sealed: Vec<u8>,
}

impl Sealed {
    fn new(key: &Key, version: Version, sealed: Vec<u8>) -> Self {
        Self {
            domain: crate::vault::domain(&key.vault),
            binding: super::binding(&key.name, &version),
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

/// The sealed value of a version.
pub(super) async fn sealed(store: &Store, key: &Key, version: VersionRef) -> Result<Found<Sealed>> {
    sealed_where(store, key, meant(version)).await
}

/// The sealed value of the version that was set with this key.
pub(super) async fn sealed_by_request(store: &Store, key: &Key, request: &IdempotencyKey) -> Result<Found<Sealed>> {
    let asked = Expr::col((secret_version::Entity, secret_version::Column::RequestKey)).eq(request.to_string());
    sealed_where(store, key, asked).await
}

async fn sealed_where(store: &Store, key: &Key, which: Expr) -> Result<Found<Sealed>> {
    let mut query = joined(which);
    named(&mut query, key).column((secret_version::Entity, secret_version::Column::Sealed));
    let Some(row) = store.read().query_one(&query).await? else {
        return Ok(Found::Nothing);
    };
    if let Some(deleted) = deleted(&key.name, &row)? {
        return Ok(Found::Deleted(deleted));
    }
    let Some(version) = read_version(&row)? else {
        return Ok(Found::Live(None));
    };
    let sealed = Sealed::new(key, version, row.try_get("", "sealed")?);
    Ok(Found::Live(Some(sealed)))
}

/// A secret with all its versions, oldest first.
pub(super) struct Whole {
    pub(super) pointers: Pointers,
    pub(super) created: Timestamp,
    pub(super) revision: u64,
    pub(super) rows: Vec<Sealed>,
}

/// All of a secret, as it is at one moment; `Conflict` if it has more than `most` versions.
pub(super) async fn whole(store: &Store, key: &Key, most: usize) -> Result<Found<Whole>> {
    let mut query = Query::select();
    version_columns(&mut query)
        .column((secret_version::Entity, secret_version::Column::Sealed))
        .from(secret::Entity)
        .inner_join(secret_version::Entity, same_secret())
        .order_by((secret_version::Entity, secret_version::Column::Ordinal), Order::Asc)
        .limit(u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1));
    let rows = store.read().query_all(named(secret_columns(&mut query), key)).await?;
    let Some(first) = rows.first() else {
        return Ok(Found::Nothing);
    };
    if let Some(deleted) = deleted(&key.name, first)? {
        return Ok(Found::Deleted(deleted));
    }
    if rows.len() > most {
        return Err(too_many(Kept::Secret, key, most));
    }
    let mut whole = Whole {
        pointers: pointers(first)?,
        created: Timestamp::from_unix(first.try_get("", "secret_created_at")?),
        revision: natural(first.try_get("", "revision")?)?,
        rows: Vec::with_capacity(rows.len()),
    };
    for row in &rows {
        if let Some(version) = read_version(row)? {
            whole.rows.push(Sealed::new(key, version, row.try_get("", "sealed")?));
        }
    }
    Ok(Found::Live(Some(whole)))
}

/// What is known about a secret and the version that is meant.
pub(super) async fn described(
    conn: &impl ConnectionTrait,
    key: &Key,
    wanted: &WhichVersion,
) -> Result<Found<Described>> {
    let version = match resolve(conn, key, wanted).await? {
        Found::Live(Some(version)) => version,
        Found::Live(None) => return Ok(Found::Live(None)),
        Found::Deleted(deleted) => return Ok(Found::Deleted(deleted)),
        Found::Nothing => return Ok(Found::Nothing),
    };
    let mut query = joined(meant(version));
    named(&mut query, key);
    let Some(row) = conn.query_one(&query).await? else {
        return Ok(Found::Nothing);
    };
    match deleted(&key.name, &row)? {
        Some(deleted) => Ok(Found::Deleted(deleted)),
        None => Ok(Found::Live(read_described(&row)?)),
    }
}

/// As [`described`], outside a transaction.
pub(super) async fn show(store: &Store, key: &Key, wanted: &WhichVersion) -> Result<Found<Described>> {
    described(store.read(), key, wanted).await
}

/// Which version a label means now; `None` if it points at none.
async fn resolve(conn: &impl ConnectionTrait, key: &Key, wanted: &WhichVersion) -> Result<Found<VersionRef>> {
    let label = match wanted {
        WhichVersion::Version(version) => return Ok(Found::Live(Some(*version))),
        WhichVersion::Label(label) => label,
    };
    let mut query = Query::select();
    named(secret_columns(&mut query).from(secret::Entity), key);
    let Some(row) = conn.query_one(&query).await? else {
        return Ok(Found::Nothing);
    };
    if let Some(deleted) = deleted(&key.name, &row)? {
        return Ok(Found::Deleted(deleted));
    }
    Ok(Found::Live(pointers(&row)?.at(label).map(VersionRef::Ordinal)))
}

/// As [`resolve`], outside a transaction.
pub(super) async fn labelled(store: &Store, key: &Key, wanted: &WhichVersion) -> Result<Found<VersionRef>> {
    resolve(store.read(), key, wanted).await
}

/// Live secrets in the order of their names. SQL only narrows what `filter` decides: what is listed may hold more.
pub(super) async fn list(
    store: &Store,
    vault: &Label,
    filter: &SecretFilter,
    after: Option<&ObjectName>,
    limit: u64,
    now: Timestamp,
) -> Result<Vec<Described>> {
    let mut query = joined(meant(VersionRef::Current));
    let name = || Expr::col((secret::Entity, secret::Column::Name));
    query
        .and_where(Expr::col((secret::Entity, secret::Column::Vault)).eq(vault.as_str()))
        .and_where(is_live(vault))
        .and_where(Expr::col((secret::Entity, secret::Column::DeletedAt)).is_null())
        .order_by((secret::Entity, secret::Column::Name), Order::Asc)
        .limit(limit);
    if let Some(after) = after {
        query.and_where(name().gt(after.as_str()));
    }
    if let Some(prefix) = &filter.prefix {
        if store.read().get_database_backend() == DbBackend::Sqlite {
            // There text is compared byte by byte, and `~` is behind all that a name may hold.
            query.and_where(name().gte(prefix.as_str()));
            query.and_where(name().lt(format!("{prefix}~")));
        }
        query.and_where(name().like(LikeExpr::new(format!("{}%", literal(prefix))).escape('!')));
    }
    if let Some(tag) = &filter.tag {
        let part = format!("%{}%", literal(&tag.in_json()?));
        let tags = Expr::col((secret_version::Entity, secret_version::Column::Tags));
        query.and_where(tags.like(LikeExpr::new(part).escape('!')));
    }
    if let Some(state) = filter.state {
        query.and_where(state_is(state, now));
    }
    let rows = store.read().query_all(&query).await?;
    rows.iter().filter_map(|row| read_described(row).transpose()).collect()
}

fn state_is(state: super::filter::SecretState, now: Timestamp) -> Expr {
    use super::filter::SecretState;
    let column = |column| Expr::col((secret_version::Entity, column));
    let expires = || column(secret_version::Column::Expires);
    match state {
        SecretState::Disabled => column(secret_version::Column::Enabled).eq(false),
        SecretState::Enabled => column(secret_version::Column::Enabled)
            .eq(true)
            .and(expires().is_null().or(expires().gt(now.unix()))),
        SecretState::Expired => expires().lte(now.unix()),
    }
}

/// The text as it stands in a pattern whose escape is `!`.
fn literal(text: &str) -> String {
    text.replace('!', "!!").replace('%', "!%").replace('_', "!_")
}

/// The versions of a live secret, newest first, below `before`.
pub(super) async fn versions(store: &Store, key: &Key, before: Option<u64>, limit: u64) -> Result<Vec<Version>> {
    let mut query = Query::select();
    version_columns(&mut query)
        .from(secret::Entity)
        .inner_join(secret_version::Entity, same_secret())
        .and_where(Expr::col((secret::Entity, secret::Column::DeletedAt)).is_null())
        .order_by((secret_version::Entity, secret_version::Column::Ordinal), Order::Desc)
        .limit(limit);
    named(secret_columns(&mut query), key);
    if let Some(before) = before {
        query.and_where(Expr::col((secret_version::Entity, secret_version::Column::Ordinal)).lt(number(before)));
    }
    let rows = store.read().query_all(&query).await?;
    rows.iter().filter_map(|row| read_version(row).transpose()).collect()
}

pub(super) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn natural(value: i64) -> Result<u64> {
    u64::try_from(value).map_err(|e| Error::internal("an ordinal is negative").because(e))
}

fn same_secret() -> Expr {
    Expr::col((secret_version::Entity, secret_version::Column::SecretId)).equals((secret::Entity, secret::Column::Id))
}

/// The ordinal of a secret's current version.
fn current() -> Expr {
    Expr::expr(Func::coalesce([
        Expr::col((secret::Entity, secret::Column::Current)),
        Expr::col((secret::Entity, secret::Column::Latest)),
    ]))
}

fn named<'q>(query: &'q mut SelectStatement, key: &Key) -> &'q mut SelectStatement {
    query
        .and_where(Expr::col((secret::Entity, secret::Column::Vault)).eq(key.vault.as_str()))
        .and_where(Expr::col((secret::Entity, secret::Column::Name)).eq(key.name.as_str()))
        .and_where(is_live(&key.vault))
}

fn meant(version: VersionRef) -> Expr {
    let ordinal = || Expr::col((secret_version::Entity, secret_version::Column::Ordinal));
    match version {
        VersionRef::Current => ordinal().eq(current()),
        VersionRef::Id(id) => Expr::col((secret_version::Entity, secret_version::Column::Id)).eq(id.to_string()),
        VersionRef::Ordinal(meant) => ordinal().eq(number(meant)),
    }
}

/// Secrets, each with the version that is meant, if it has it.
fn joined(which: Expr) -> SelectStatement {
    let mut query = Query::select();
    secret_columns(version_columns(&mut query))
        .from(secret::Entity)
        .left_join(secret_version::Entity, same_secret().and(which));
    query
}

fn secret_columns(query: &mut SelectStatement) -> &mut SelectStatement {
    use secret::Column::{Current, DeletedAt, Labels, Latest, Name, Previous, PurgeAt, Revision};
    let columns = [Name, Latest, Current, Previous, Labels, Revision, DeletedAt, PurgeAt];
    query
        .columns(columns.map(|column| (secret::Entity, column)))
        .expr_as(
            Expr::col((secret::Entity, secret::Column::CreatedAt)),
            "secret_created_at",
        )
        .expr_as(
            Expr::col((secret::Entity, secret::Column::UpdatedAt)),
            "secret_updated_at",
        )
}

fn version_columns(query: &mut SelectStatement) -> &mut SelectStatement {
    use secret_version::Column::{
        ContentType, CreatedAt, CreatedBy, DestroyAt, DestroyedAt, Enabled, Expires, Id, NotBefore, Ordinal, Tags,
        UpdatedAt,
    };
    query.columns(
        [
            Id,
            Ordinal,
            ContentType,
            Tags,
            Enabled,
            NotBefore,
            Expires,
            CreatedAt,
            CreatedBy,
            UpdatedAt,
            DestroyAt,
            DestroyedAt,
        ]
        .map(|column| (secret_version::Entity, column)),
    )
}

/// Where the labels of a secret's row point.
pub(super) fn pointers(row: &QueryResult) -> Result<Pointers> {
    let (latest, current): (i64, Option<i64>) = (row.try_get("", "latest")?, row.try_get("", "current")?);
    let previous: Option<i64> = row.try_get("", "previous")?;
    let labels: Option<String> = row.try_get("", "labels")?;
    let others = labels.as_deref().map(serde_json::from_str).transpose();
    Ok(Pointers {
        current: natural(current.unwrap_or(latest))?,
        previous: previous.map(natural).transpose()?,
        others: others
            .map_err(|e| Error::internal("labels are not JSON").because(e))?
            .unwrap_or_default(),
    })
}

/// The version in a joined row; `None` if the secret has no such version.
fn read_version(row: &QueryResult) -> Result<Option<Version>> {
    let Some(id) = row.try_get::<Option<String>>("", "id")? else {
        return Ok(None);
    };
    let time = |column: &str| -> Result<Option<Timestamp>> {
        Ok(row.try_get::<Option<i64>>("", column)?.map(Timestamp::from_unix))
    };
    let content_type: Option<String> = row.try_get("", "content_type")?;
    let tags: String = row.try_get("", "tags")?;
    let ordinal = natural(row.try_get("", "ordinal")?)?;
    let created = Timestamp::from_unix(row.try_get("", "created_at")?);
    Ok(Some(Version {
        id: id.parse()?,
        ordinal,
        attributes: SecretAttributes {
            enabled: row.try_get("", "enabled")?,
            not_before: time("not_before")?,
            expires: time("expires")?,
            content_type: content_type.map(|text| text.parse()).transpose()?,
            tags: serde_json::from_str::<Tags>(&tags).map_err(|e| Error::internal("tags are not JSON").because(e))?,
        },
        labels: pointers(row)?.of(ordinal),
        created,
        created_by: row.try_get("", "created_by")?,
        updated: time("updated_at")?.unwrap_or(created),
        destroy: time("destroy_at")?,
        destroyed: time("destroyed_at")?,
    }))
}

fn read_described(row: &QueryResult) -> Result<Option<Described>> {
    let Some(version) = read_version(row)? else {
        return Ok(None);
    };
    let name: String = row.try_get("", "name")?;
    Ok(Some(Described {
        name: name.parse()?,
        created: Timestamp::from_unix(row.try_get("", "secret_created_at")?),
        updated: Timestamp::from_unix(row.try_get("", "secret_updated_at")?),
        revision: natural(row.try_get("", "revision")?)?,
        version,
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
