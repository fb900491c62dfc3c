//! External keys in the store.

use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, DatabaseConnection, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};

use super::{ExternalKey, Grant};
use crate::acme::problem::Problem;
use crate::acme::rules::NameRules;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::{Id, Label};
use crate::store::Tx;
use crate::store::entity::acme_external_key::{self as row, Column, Entity};

pub(super) async fn insert(tx: &Tx, key: &ExternalKey, sealed: &[u8]) -> Result<()> {
    Entity::insert(row::ActiveModel {
        id: Set(key.id.to_string()),
        authority: Set(key.authority.to_string()),
        sealed: Set(sealed.to_vec()),
        identity: Set(key.grant.identity.to_string()),
        rules: Set(key.grant.rules.to_json()),
        trusted: Set(key.grant.is_trusted),
        reusable: Set(key.is_reusable),
        created_at: Set(key.created.unix()),
        created_by: Set(key.created_by.clone()),
        expires_at: Set(key.expires.map(Timestamp::unix)),
        used: Set(0),
        role: Set(key.grant.role.map(String::from)),
    })
    .exec_without_returning(tx.conn())
    .await?;
    Ok(())
}

/// A key with its sealed value.
pub(super) async fn find(
    conn: &DatabaseConnection,
    authority: &Label,
    id: Id,
) -> Result<Option<(ExternalKey, Vec<u8>)>> {
    let found = Entity::find_by_id(id.to_string())
        .filter(Column::Authority.eq(authority.as_str()))
        .one(conn)
        .await?;
    found
        .map(|mut found| {
            let sealed = std::mem::take(&mut found.sealed);
            Ok((parse(found)?, sealed))
        })
        .transpose()
}

/// Those behind `after`, oldest first.
pub(super) async fn page(
    conn: &DatabaseConnection,
    authority: &Label,
    after: Option<Id>,
    limit: u32,
) -> Result<Vec<ExternalKey>> {
    let mut query = Entity::find()
        .filter(Column::Authority.eq(authority.as_str()))
        .order_by_asc(Column::Id)
        .limit(u64::from(limit));
    if let Some(after) = after {
        query = query.filter(Column::Id.gt(after.to_string()));
    }
    query.all(conn).await?.into_iter().map(parse).collect()
}

/// Counts an account that is made with the key.
///
/// # Errors
/// `unauthorized` if it may not be used once more.
pub(in crate::acme) async fn take(tx: &Tx, id: Id, now: Timestamp) -> Result<()> {
    let alive = Condition::any()
        .add(Column::ExpiresAt.is_null())
        .add(Column::ExpiresAt.gt(now.unix()));
    let free = Condition::any().add(Column::Reusable.eq(true)).add(Column::Used.eq(0));
    let updated = Entity::update_many()
        .col_expr(Column::Used, Expr::col(Column::Used).add(1))
        .filter(Column::Id.eq(id.to_string()))
        .filter(alive)
        .filter(free)
        .exec(tx.conn())
        .await?;
    match updated.rows_affected {
        1 => Ok(()),
        _ => Err(used().into()),
    }
}

pub(super) async fn delete(tx: &Tx, authority: &Label, id: Id) -> Result<()> {
    let deleted = Entity::delete_by_id(id.to_string())
        .filter(Column::Authority.eq(authority.as_str()))
        .exec(tx.conn())
        .await?;
    match deleted.rows_affected {
        0 => Err(Error::not_found(format!(
            "there is no external account key `{id}`: list them for the right one"
        ))),
        _ => Ok(()),
    }
}

pub(super) fn used() -> Problem {
    Problem::unauthorized("an account was made with the external account's key already: ask for another")
}

fn parse(row: row::Model) -> Result<ExternalKey> {
    Ok(ExternalKey {
        id: row.id.parse()?,
        authority: row.authority.parse()?,
        grant: Grant {
            identity: row.identity.parse()?,
            rules: NameRules::from_json(&row.rules)?,
            is_trusted: row.trusted,
            role: row.role.map(|role| role.parse()).transpose()?,
        },
        is_reusable: row.reusable,
        created: Timestamp::from_unix(row.created_at),
        created_by: row.created_by,
        expires: row.expires_at.map(Timestamp::from_unix),
        used: u64::try_from(row.used).unwrap_or_default(),
    })
}
