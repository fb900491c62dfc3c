//! Identities and join tokens in the store.

use std::collections::HashSet;
use std::time::Duration;

use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, DatabaseConnection, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect, sea_query::Expr,
};

use super::register::{Registration, StoredToken, TokenDigest};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::policy::SpiffeId;
use crate::store::entity::{identity, join_token};
use crate::store::{Tx, is_unique_violation};

pub(super) async fn insert(tx: &Tx, registration: &Registration) -> Result<()> {
    let ttl_s = registration
        .ttl
        .map(|ttl| i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX));
    let row = identity::ActiveModel {
        id: Set(registration.id.to_string()),
        ttl_s: Set(ttl_s),
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
        ttl: row
            .ttl_s
            .map(|ttl_s| Duration::from_secs(u64::try_from(ttl_s).unwrap_or(0))),
        created: Timestamp::from_unix(row.created_at),
        disabled: row.disabled_at.map(Timestamp::from_unix),
    })
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
