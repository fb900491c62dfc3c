//! The tables `secret` and `secret_version`: writing.

use sea_orm::sea_query::{Expr, ExprTrait, Func, InsertStatement, OnConflict, Query, ReturningClause, UpdateStatement};
use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait, QueryResult};

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::{Id, IdempotencyKey};
use crate::store::entity::{secret, secret_version};
use crate::store::{Store, Tx};
use crate::vault::cache::Key;
use crate::vault::repo::in_live_vault;
use crate::vault::secrets::label::Pointers;
use crate::vault::secrets::repo::{natural, number, pointers};
use crate::vault::secrets::version::{SecretAttributes, Version};

/// A secret's row, locked until the commit.
pub(in crate::vault::secrets) struct Slot {
    pub(in crate::vault::secrets) secret_id: String,
    /// The newest place in its history: with a set, the one that was just taken.
    pub(in crate::vault::secrets) latest: u64,
    pub(in crate::vault::secrets) pointers: Pointers,
}

/// The next place in the secret's history, the secret made if it is new; `None` if it is deleted, or if there is no
/// such vault. The first version is current in any case.
pub(in crate::vault::secrets) async fn take_slot(
    tx: &Tx,
    key: &Key,
    new_id: &Id,
    becomes_current: bool,
    now: Timestamp,
) -> Result<Option<Slot>> {
    let mut insert = insert_secret(key, new_id, now)?;
    let mut conflict = OnConflict::columns([secret::Column::Vault, secret::Column::Name]);
    conflict.action_and_where(held(secret::Column::DeletedAt).is_null());
    conflict.values(next_version(becomes_current));
    conflict.value(secret::Column::UpdatedAt, now.unix());
    insert.on_conflict(conflict);
    slot(tx.conn().query_one(&insert).await?)
}

/// The first place of a secret that must be new; `None` if it is there, deleted or not, or if there is no such vault.
pub(in crate::vault::secrets) async fn take_first_slot(
    tx: &Tx,
    key: &Key,
    new_id: &Id,
    now: Timestamp,
) -> Result<Option<Slot>> {
    let mut insert = insert_secret(key, new_id, now)?;
    insert.on_conflict(
        OnConflict::columns([secret::Column::Vault, secret::Column::Name])
            .do_nothing()
            .to_owned(),
    );
    slot(tx.conn().query_one(&insert).await?)
}

/// The next place of a live secret whose current version has this ordinal; `None` if it is not so.
pub(in crate::vault::secrets) async fn take_slot_after(
    tx: &Tx,
    key: &Key,
    ordinal: u64,
    becomes_current: bool,
    now: Timestamp,
) -> Result<Option<Slot>> {
    let mut update = live(key, now);
    update
        .values(next_version(becomes_current))
        .and_where(current().eq(number(ordinal)));
    slot(tx.conn().query_one(&update).await?)
}

/// Moves a live secret to its next revision; `None` if it is not there, or not at the revision that is expected.
pub(in crate::vault::secrets) async fn advance(
    tx: &Tx,
    key: &Key,
    expect: Option<u64>,
    now: Timestamp,
) -> Result<Option<Slot>> {
    let mut update = live(key, now);
    update.value(secret::Column::Revision, held(secret::Column::Revision).add(1));
    if let Some(revision) = expect {
        update.and_where(held(secret::Column::Revision).eq(number(revision)));
    }
    slot(tx.conn().query_one(&update).await?)
}

/// Writes where the labels of a locked secret point.
pub(in crate::vault::secrets) async fn write_pointers(tx: &Tx, slot: &Slot) -> Result<()> {
    let Pointers {
        current,
        previous,
        others,
    } = &slot.pointers;
    let labels = (!others.is_empty())
        .then(|| serde_json::to_string(others))
        .transpose()
        .map_err(|e| Error::internal("labels are not JSON").because(e))?;
    let mut update = Query::update();
    update
        .table(secret::Entity)
        .value(
            secret::Column::Current,
            (*current != slot.latest).then(|| number(*current)),
        )
        .value(secret::Column::Previous, previous.map(number))
        .value(secret::Column::Labels, labels)
        .and_where(Expr::col(secret::Column::Id).eq(slot.secret_id.as_str()));
    tx.conn().execute(&update).await?;
    Ok(())
}

/// Says of a secret that was just put there how far its history goes, and when it began.
pub(in crate::vault::secrets) async fn place(tx: &Tx, slot: &Slot, revision: u64, created: Timestamp) -> Result<()> {
    let mut update = Query::update();
    update
        .table(secret::Entity)
        .value(secret::Column::Latest, number(slot.latest))
        .value(secret::Column::Revision, number(revision))
        .value(secret::Column::CreatedAt, created.unix())
        .and_where(Expr::col(secret::Column::Id).eq(slot.secret_id.as_str()));
    tx.conn().execute(&update).await?;
    Ok(())
}

/// Whether any of these ids is that of a version of any secret.
pub(in crate::vault::secrets) async fn is_any_there(tx: &Tx, ids: &[String]) -> Result<bool> {
    let mut query = Query::select();
    query
        .column(secret_version::Column::Id)
        .from(secret_version::Entity)
        .and_where(Expr::col(secret_version::Column::Id).is_in(ids))
        .limit(1);
    Ok(tx.conn().query_one(&query).await?.is_some())
}

/// Puts a sealed version into its place.
pub(in crate::vault::secrets) async fn insert_version(
    tx: &Tx,
    slot: &Slot,
    version: &Version,
    sealed: Vec<u8>,
    request: Option<&IdempotencyKey>,
) -> Result<()> {
    let attributes = &version.attributes;
    secret_version::Entity::insert(secret_version::ActiveModel {
        id: Set(version.id.to_string()),
        secret_id: Set(slot.secret_id.clone()),
        ordinal: Set(number(version.ordinal)),
        content_type: Set(content_type(attributes)),
        tags: Set(tags(attributes)?),
        enabled: Set(attributes.enabled),
        not_before: Set(attributes.not_before.map(Timestamp::unix)),
        expires: Set(attributes.expires.map(Timestamp::unix)),
        sealed: Set(sealed),
        created_at: Set(version.created.unix()),
        created_by: Set(version.created_by.clone()),
        updated_at: Set((version.updated != version.created).then(|| version.updated.unix())),
        destroy_at: Set(version.destroy.map(Timestamp::unix)),
        destroyed_at: Set(version.destroyed.map(Timestamp::unix)),
        request_key: Set(request.map(ToString::to_string)),
    })
    .exec_without_returning(tx.conn())
    .await?;
    Ok(())
}

/// Writes a version's attributes.
pub(in crate::vault::secrets) async fn update_version(tx: &Tx, version: &Version) -> Result<()> {
    let attributes = &version.attributes;
    let mut update = version_of(&version.id.to_string());
    update
        .value(secret_version::Column::ContentType, content_type(attributes))
        .value(secret_version::Column::Tags, tags(attributes)?)
        .value(secret_version::Column::Enabled, attributes.enabled)
        .value(
            secret_version::Column::NotBefore,
            attributes.not_before.map(Timestamp::unix),
        )
        .value(secret_version::Column::Expires, attributes.expires.map(Timestamp::unix))
        .value(secret_version::Column::UpdatedAt, version.updated.unix());
    tx.conn().execute(&update).await?;
    Ok(())
}

/// Writes when a version's value is to be destroyed; never with `None`.
pub(in crate::vault::secrets) async fn schedule(tx: &Tx, id: &Id, at: Option<Timestamp>) -> Result<()> {
    let mut update = version_of(&id.to_string());
    update.value(secret_version::Column::DestroyAt, at.map(Timestamp::unix));
    tx.conn().execute(&update).await?;
    Ok(())
}

/// Deletes a version's value for good; its row stays.
pub(in crate::vault::secrets) async fn destroy(tx: &Tx, id: &str, now: Timestamp) -> Result<()> {
    let mut update = version_of(id);
    update
        .value(secret_version::Column::Sealed, Vec::<u8>::new())
        .value(secret_version::Column::DestroyAt, None::<i64>)
        .value(secret_version::Column::DestroyedAt, now.unix());
    tx.conn().execute(&update).await?;
    Ok(())
}

/// Whether a version of a locked secret was set with this key.
pub(in crate::vault::secrets) async fn is_taken(tx: &Tx, slot: &Slot, request: &IdempotencyKey) -> Result<bool> {
    let mut query = Query::select();
    query
        .column(secret_version::Column::Id)
        .from(secret_version::Entity)
        .and_where(Expr::col(secret_version::Column::SecretId).eq(slot.secret_id.as_str()))
        .and_where(Expr::col(secret_version::Column::RequestKey).eq(request.to_string()));
    Ok(tx.conn().query_one(&query).await?.is_some())
}

/// A version whose value is to be destroyed by now.
pub(in crate::vault::secrets) struct Due {
    pub(in crate::vault::secrets) key: Key,
    pub(in crate::vault::secrets) ordinal: i64,
    pub(in crate::vault::secrets) id: String,
}

/// Whether there is any.
pub(in crate::vault::secrets) async fn is_any_due(store: &Store, now: Timestamp) -> Result<bool> {
    Ok(!due(store.read(), now, 1).await?.is_empty())
}

/// Versions whose values are to be destroyed by `now`, `most` of them.
pub(in crate::vault::secrets) async fn due(conn: &impl ConnectionTrait, now: Timestamp, most: u64) -> Result<Vec<Due>> {
    let at = (secret_version::Entity, secret_version::Column::DestroyAt);
    let mut query = Query::select();
    query
        .columns([
            (secret::Entity, secret::Column::Vault),
            (secret::Entity, secret::Column::Name),
        ])
        .columns([
            (secret_version::Entity, secret_version::Column::Ordinal),
            (secret_version::Entity, secret_version::Column::Id),
        ])
        .from(secret_version::Entity)
        .inner_join(
            secret::Entity,
            Expr::col((secret_version::Entity, secret_version::Column::SecretId))
                .equals((secret::Entity, secret::Column::Id)),
        )
        .and_where(Expr::col(at).lte(now.unix()))
        .order_by(at, sea_orm::Order::Asc)
        .limit(most);
    let rows = conn.query_all(&query).await?;
    let due = rows.into_iter().map(|row| {
        let (vault, name): (String, String) = (row.try_get("", "vault")?, row.try_get("", "name")?);
        Ok(Due {
            key: Key {
                vault: vault.parse()?,
                name: name.parse()?,
            },
            ordinal: row.try_get("", "ordinal")?,
            id: row.try_get("", "id")?,
        })
    });
    due.collect()
}

fn content_type(attributes: &SecretAttributes) -> Option<String> {
    attributes.content_type.as_ref().map(|it| it.as_str().to_owned())
}

fn tags(attributes: &SecretAttributes) -> Result<String> {
    serde_json::to_string(&attributes.tags).map_err(|e| Error::internal("tags are not JSON").because(e))
}

fn version_of(id: &str) -> UpdateStatement {
    Query::update()
        .table(secret_version::Entity)
        .and_where(Expr::col(secret_version::Column::Id).eq(id))
        .to_owned()
}

/// What the row holds, where it is changed.
fn held(column: secret::Column) -> Expr {
    Expr::col((secret::Entity, column))
}

fn current() -> Expr {
    Expr::expr(Func::coalesce([
        held(secret::Column::Current),
        held(secret::Column::Latest),
    ]))
}

/// What one more version changes of the row. `current` is null while the newest version is the current one.
fn next_version(becomes_current: bool) -> Vec<(secret::Column, Expr)> {
    let mut values = vec![
        (secret::Column::Latest, held(secret::Column::Latest).add(1)),
        (secret::Column::Revision, held(secret::Column::Revision).add(1)),
    ];
    if becomes_current {
        values.push((secret::Column::Previous, current()));
        values.push((secret::Column::Current, Expr::val(None::<i64>)));
    } else {
        values.push((secret::Column::Current, current()));
    }
    values
}

/// A change of a live secret's row.
fn live(key: &Key, now: Timestamp) -> UpdateStatement {
    Query::update()
        .table(secret::Entity)
        .value(secret::Column::UpdatedAt, now.unix())
        .and_where(held(secret::Column::Vault).eq(key.vault.as_str()))
        .and_where(held(secret::Column::Name).eq(key.name.as_str()))
        .and_where(held(secret::Column::DeletedAt).is_null())
        .returning(slot_columns())
        .to_owned()
}

fn insert_secret(key: &Key, new_id: &Id, now: Timestamp) -> Result<InsertStatement> {
    Ok(Query::insert()
        .into_table(secret::Entity)
        .columns([
            secret::Column::Id,
            secret::Column::Vault,
            secret::Column::Name,
            secret::Column::Latest,
            secret::Column::Revision,
            secret::Column::CreatedAt,
            secret::Column::UpdatedAt,
        ])
        .select_from(in_live_vault(key, new_id, now))
        .map_err(|e| Error::internal("a row does not fit its columns").because(e))?
        .returning(slot_columns())
        .to_owned())
}

fn slot_columns() -> ReturningClause {
    use secret::Column::{Current, Id, Labels, Latest, Previous};
    Query::returning().columns([Id, Latest, Current, Previous, Labels])
}

fn slot(row: Option<QueryResult>) -> Result<Option<Slot>> {
    row.map(|row| {
        Ok(Slot {
            secret_id: row.try_get("", "id")?,
            latest: natural(row.try_get("", "latest")?)?,
            pointers: pointers(&row)?,
        })
    })
    .transpose()
}
