//! Identities and join tokens in the store.

use std::collections::HashSet;
use std::time::Duration;

use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, DatabaseConnection, EntityTrait, PaginatorTrait,
    QueryFilter, QueryOrder, QuerySelect, sea_query::Expr,
};

use super::entry::Entry;
use super::proof::Spent;
use super::register::{Registration, StoredToken, TokenDigest};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::policy::SpiffeId;
use crate::store::entity::{identity, join_token, registration_entry, spent_proof};
use crate::store::{Tx, is_unique_violation};

pub(super) async fn insert(tx: &Tx, registration: &Registration) -> Result<()> {
    let row = identity::ActiveModel {
        id: Set(registration.id.to_string()),
        ttl_s: Set(registration.ttl.map(seconds)),
        grace_s: Set(registration.grace.map(seconds)),
        created_at: Set(registration.created.unix()),
        disabled_at: Set(registration.disabled.map(Timestamp::unix)),
    };
    match identity::Entity::insert(row).exec_without_returning(tx.conn()).await {
        Ok(_) => Ok(()),
        Err(e) if is_unique_violation(&e) => Err(Error::conflict(format!(
            "`{}` is registered already: use it, or choose another name",
            registration.id
        ))),
        Err(e) => Err(e.into()),
    }
}

pub(super) async fn find<C: ConnectionTrait>(conn: &C, id: &SpiffeId) -> Result<Option<Registration>> {
    let row = identity::Entity::find_by_id(id.as_str()).one(conn).await?;
    row.map(registration).transpose()
}

pub(super) async fn page(conn: &DatabaseConnection, after: Option<&SpiffeId>, limit: u32) -> Result<Vec<Registration>> {
    let mut query = identity::Entity::find()
        .order_by_asc(identity::Column::Id)
        .limit(u64::from(limit));
    if let Some(after) = after {
        query = query.filter(identity::Column::Id.gt(after.as_str()));
    }
    query.all(conn).await?.into_iter().map(registration).collect()
}

fn registration(row: identity::Model) -> Result<Registration> {
    Ok(Registration {
        id: row.id.parse()?,
        ttl: row.ttl_s.map(duration),
        grace: row.grace_s.map(duration),
        created: Timestamp::from_unix(row.created_at),
        disabled: row.disabled_at.map(Timestamp::from_unix),
    })
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

fn duration(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// Sets what of a registration can be changed.
pub(super) async fn update(tx: &Tx, id: &SpiffeId, ttl: Option<Duration>, grace: Option<Duration>) -> Result<()> {
    identity::Entity::update_many()
        .col_expr(identity::Column::TtlS, Expr::value(ttl.map(seconds)))
        .col_expr(identity::Column::GraceS, Expr::value(grace.map(seconds)))
        .filter(identity::Column::Id.eq(id.as_str()))
        .exec(tx.conn())
        .await?;
    Ok(())
}

/// Notes since when an identity is disabled, or that it is not.
pub(super) async fn set_disabled(tx: &Tx, id: &SpiffeId, at: Option<Timestamp>) -> Result<()> {
    identity::Entity::update_many()
        .col_expr(identity::Column::DisabledAt, Expr::value(at.map(Timestamp::unix)))
        .filter(identity::Column::Id.eq(id.as_str()))
        .exec(tx.conn())
        .await?;
    Ok(())
}

/// Every identity that is disabled.
pub(super) async fn disabled(conn: &DatabaseConnection) -> Result<HashSet<String>> {
    let ids: Vec<String> = identity::Entity::find()
        .select_only()
        .column(identity::Column::Id)
        .filter(identity::Column::DisabledAt.is_not_null())
        .into_tuple()
        .all(conn)
        .await?;
    Ok(ids.into_iter().collect())
}

pub(super) async fn insert_token(
    tx: &Tx,
    token: &TokenDigest,
    id: &SpiffeId,
    now: Timestamp,
    expires: Timestamp,
) -> Result<()> {
    join_token::Entity::insert(join_token::ActiveModel {
        digest: Set(token.as_str().to_owned()),
        identity: Set(id.to_string()),
        created_at: Set(now.unix()),
        expires_at: Set(expires.unix()),
        key_digest: Set(None),
        serial: Set(None),
    })
    .exec_without_returning(tx.conn())
    .await?;
    Ok(())
}

pub(super) async fn find_token<C: ConnectionTrait>(conn: &C, token: &TokenDigest) -> Result<Option<StoredToken>> {
    let row = join_token::Entity::find_by_id(token.as_str()).one(conn).await?;
    row.map(|row| {
        Ok(StoredToken {
            expires: Timestamp::from_unix(row.expires_at),
            identity: row.identity.parse()?,
            key_digest: row.key_digest,
            serial: row.serial,
        })
    })
    .transpose()
}

/// Binds the token to the key, if it lives and is bound to no other. One statement, so that of two keys that come at
/// once one only is bound.
pub(super) async fn claim_token(tx: &Tx, token: &TokenDigest, key_digest: &str, now: Timestamp) -> Result<bool> {
    let claimed = join_token::Entity::update_many()
        .col_expr(join_token::Column::KeyDigest, Expr::value(key_digest))
        .filter(join_token::Column::Digest.eq(token.as_str()))
        .filter(join_token::Column::ExpiresAt.gt(now.unix()))
        .filter(
            Condition::any()
                .add(join_token::Column::KeyDigest.is_null())
                .add(join_token::Column::KeyDigest.eq(key_digest)),
        )
        .exec(tx.conn())
        .await?;
    Ok(claimed.rows_affected > 0)
}

/// Notes the certificate, if the token gave none yet.
pub(super) async fn redeem_token(tx: &Tx, token: &TokenDigest, serial: &str) -> Result<bool> {
    let redeemed = join_token::Entity::update_many()
        .col_expr(join_token::Column::Serial, Expr::value(serial))
        .filter(join_token::Column::Digest.eq(token.as_str()))
        .filter(join_token::Column::Serial.is_null())
        .exec(tx.conn())
        .await?;
    Ok(redeemed.rows_affected > 0)
}

/// The digests of `most` tokens that ended at `before`; of `keep` only those that gave no certificate.
pub(super) async fn ended_tokens<C: ConnectionTrait>(
    conn: &C,
    before: Timestamp,
    keep: &SpiffeId,
    most: u64,
) -> Result<Vec<String>> {
    Ok(join_token::Entity::find()
        .select_only()
        .column(join_token::Column::Digest)
        .filter(join_token::Column::ExpiresAt.lte(before.unix()))
        .filter(
            Condition::any()
                .add(join_token::Column::Serial.is_null())
                .add(join_token::Column::Identity.ne(keep.as_str())),
        )
        .order_by_asc(join_token::Column::ExpiresAt)
        .limit(most)
        .into_tuple()
        .all(conn)
        .await?)
}

pub(super) async fn delete_tokens(tx: &Tx, digests: Vec<String>) -> Result<u64> {
    let deleted = join_token::Entity::delete_many()
        .filter(join_token::Column::Digest.is_in(digests))
        .exec(tx.conn())
        .await?;
    Ok(deleted.rows_affected)
}

pub(super) async fn has_redeemed_token(conn: &DatabaseConnection, ids: &[SpiffeId]) -> Result<bool> {
    let found = join_token::Entity::find()
        .filter(join_token::Column::Identity.is_in(ids.iter().map(SpiffeId::as_str)))
        .filter(join_token::Column::Serial.is_not_null())
        .limit(1)
        .one(conn)
        .await?;
    Ok(found.is_some())
}

/// Why a stored entry cannot be read.
const UNREADABLE: &str = "a registration entry in the store cannot be read";

pub(super) async fn insert_entry(tx: &Tx, entry: &Entry, source: &str) -> Result<()> {
    registration_entry::Entity::insert(registration_entry::ActiveModel {
        id: Set(entry.id.to_string()),
        identity: Set(entry.identity.to_string()),
        source: Set(source.to_owned()),
        way: Set(way(entry)?),
        created_at: Set(entry.created.unix()),
    })
    .exec_without_returning(tx.conn())
    .await?;
    Ok(())
}

pub(super) async fn update_entry(tx: &Tx, entry: &Entry, source: &str) -> Result<()> {
    registration_entry::Entity::update_many()
        .col_expr(registration_entry::Column::Source, Expr::value(source))
        .col_expr(registration_entry::Column::Way, Expr::value(way(entry)?))
        .filter(registration_entry::Column::Id.eq(entry.id.to_string()))
        .exec(tx.conn())
        .await?;
    Ok(())
}

pub(super) async fn delete_entry(tx: &Tx, identity: &SpiffeId, id: Id) -> Result<bool> {
    let deleted = registration_entry::Entity::delete_many()
        .filter(registration_entry::Column::Id.eq(id.to_string()))
        .filter(registration_entry::Column::Identity.eq(identity.as_str()))
        .exec(tx.conn())
        .await?;
    Ok(deleted.rows_affected > 0)
}

pub(super) async fn count_entries(tx: &Tx, source: &str) -> Result<u64> {
    Ok(registration_entry::Entity::find()
        .filter(registration_entry::Column::Source.eq(source))
        .count(tx.conn())
        .await?)
}

pub(super) async fn find_entry<C: ConnectionTrait>(conn: &C, id: Id) -> Result<Option<Entry>> {
    let row = registration_entry::Entity::find_by_id(id.to_string()).one(conn).await?;
    row.map(entry).transpose()
}

/// As [`find_entry`], locked until the transaction ends.
pub(super) async fn lock_entry(tx: &Tx, id: Id) -> Result<Option<Entry>> {
    let row = registration_entry::Entity::find_by_id(id.to_string())
        .lock_exclusive()
        .one(tx.conn())
        .await?;
    row.map(entry).transpose()
}

pub(super) async fn entries_of(conn: &DatabaseConnection, id: &SpiffeId) -> Result<Vec<Entry>> {
    registration_entry::Entity::find()
        .filter(registration_entry::Column::Identity.eq(id.as_str()))
        .order_by_asc(registration_entry::Column::Id)
        .all(conn)
        .await?
        .into_iter()
        .map(entry)
        .collect()
}

/// The entries of these sources.
pub(super) async fn entries_by(conn: &DatabaseConnection, sources: Vec<String>) -> Result<Vec<Entry>> {
    registration_entry::Entity::find()
        .filter(registration_entry::Column::Source.is_in(sources))
        .order_by_asc(registration_entry::Column::Id)
        .all(conn)
        .await?
        .into_iter()
        .map(entry)
        .collect()
}

fn entry(row: registration_entry::Model) -> Result<Entry> {
    Ok(Entry {
        id: row.id.parse()?,
        identity: row.identity.parse()?,
        way: serde_json::from_str(&row.way).map_err(|e| Error::internal(UNREADABLE).because(e))?,
        created: Timestamp::from_unix(row.created_at),
    })
}

fn way(entry: &Entry) -> Result<String> {
    serde_json::to_string(&entry.way).map_err(|e| Error::internal(UNREADABLE).because(e))
}

pub(super) async fn find_spent<C: ConnectionTrait>(conn: &C, digest: &str) -> Result<Option<Spent>> {
    let row = spent_proof::Entity::find_by_id(digest).one(conn).await?;
    Ok(row.map(|row| Spent {
        key_digest: row.key_digest,
        serial: row.serial,
        expires: Timestamp::from_unix(row.expires_at),
    }))
}

/// `false`: somebody else was faster.
pub(super) async fn insert_spent(tx: &Tx, digest: &str, key_digest: &str, until: Timestamp) -> Result<bool> {
    let inserted = spent_proof::Entity::insert(spent_proof::ActiveModel {
        digest: Set(digest.to_owned()),
        key_digest: Set(key_digest.to_owned()),
        serial: Set(None),
        expires_at: Set(until.unix()),
    })
    .exec_without_returning(tx.conn())
    .await;
    match inserted {
        Ok(_) => Ok(true),
        Err(e) if is_unique_violation(&e) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Deletes a proof that ended, so that it can be shown anew.
pub(super) async fn delete_spent(tx: &Tx, digest: &str, now: Timestamp) -> Result<()> {
    spent_proof::Entity::delete_many()
        .filter(spent_proof::Column::Digest.eq(digest))
        .filter(spent_proof::Column::ExpiresAt.lte(now.unix()))
        .exec(tx.conn())
        .await?;
    Ok(())
}

/// Notes the certificate, if the proof gave none yet.
pub(super) async fn give_spent(tx: &Tx, digest: &str, serial: &str) -> Result<bool> {
    let given = spent_proof::Entity::update_many()
        .col_expr(spent_proof::Column::Serial, Expr::value(serial))
        .filter(spent_proof::Column::Digest.eq(digest))
        .filter(spent_proof::Column::Serial.is_null())
        .exec(tx.conn())
        .await?;
    Ok(given.rows_affected > 0)
}

/// The digests of `most` proofs that ended.
pub(super) async fn ended_proofs<C: ConnectionTrait>(conn: &C, now: Timestamp, most: u64) -> Result<Vec<String>> {
    Ok(spent_proof::Entity::find()
        .select_only()
        .column(spent_proof::Column::Digest)
        .filter(spent_proof::Column::ExpiresAt.lte(now.unix()))
        .order_by_asc(spent_proof::Column::ExpiresAt)
        .limit(most)
        .into_tuple()
        .all(conn)
        .await?)
}

pub(super) async fn delete_proofs(tx: &Tx, digests: Vec<String>) -> Result<u64> {
    let deleted = spent_proof::Entity::delete_many()
        .filter(spent_proof::Column::Digest.is_in(digests))
        .exec(tx.conn())
        .await?;
    Ok(deleted.rows_affected)
}
