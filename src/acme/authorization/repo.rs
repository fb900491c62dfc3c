//! Authorizations in the store.

use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, DatabaseConnection, EntityTrait, QueryFilter,
};

use super::challenge::LEASE;
use super::{Authorization, AuthorizationStatus, Tried};
use crate::acme::identifier::Identifier;
use crate::acme::problem::Problem;
use crate::acme::repo as leases;
use crate::acme::validation::Method;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::{Id, Label};
use crate::store::Tx;
use crate::store::entity::acme_authorization::{self as row, Column, Entity};

/// Validations that are taken up at once.
const TAKEN_UP: u64 = 64;

/// An authorization to be, for an identifier of an order.
#[derive(Clone, Debug)]
pub(in crate::acme) struct Fresh {
    pub(in crate::acme) id: Id,
    pub(in crate::acme) account: Id,
    pub(in crate::acme) identifier: Identifier,
    pub(in crate::acme) wildcard: bool,
    pub(in crate::acme) seed: Id,
    /// Whether nothing need be shown.
    pub(in crate::acme) is_valid: bool,
    pub(in crate::acme) expires: Timestamp,
}

pub(in crate::acme) async fn insert(tx: &Tx, fresh: &[Fresh]) -> Result<()> {
    if fresh.is_empty() {
        return Ok(());
    }
    Entity::insert_many(fresh.iter().map(|fresh| row::ActiveModel {
        id: Set(fresh.id.to_string()),
        account: Set(fresh.account.to_string()),
        identifier: Set(labelled(&fresh.identifier)),
        wildcard: Set(fresh.wildcard),
        status: Set(if fresh.is_valid {
            AuthorizationStatus::Valid.as_str().to_owned()
        } else {
            AuthorizationStatus::Pending.as_str().to_owned()
        }),
        seed: Set(fresh.seed.to_string()),
        expires_at: Set(fresh.expires.unix()),
        method: Set(None),
        account_url: Set(None),
        validated_at: Set(None),
        error: Set(None),
        holder: Set(None),
        leased_until: Set(None),
    }))
    .exec_without_returning(tx.conn())
    .await?;
    Ok(())
}

pub(super) async fn find(conn: &DatabaseConnection, id: Id) -> Result<Option<Authorization>> {
    let found = Entity::find_by_id(id.to_string()).one(conn).await?;
    found.map(parse).transpose()
}

/// Those with these ids, in whatever order.
pub(in crate::acme) async fn all<C: ConnectionTrait>(conn: &C, ids: &[Id]) -> Result<Vec<Authorization>> {
    let found = Entity::find()
        .filter(Column::Id.is_in(ids.iter().map(Id::to_string)))
        .all(conn)
        .await?;
    found.into_iter().map(parse).collect()
}

/// The account's that may be relied on at `until` still, for any of these identifiers.
pub(in crate::acme) async fn valid(
    conn: &DatabaseConnection,
    account: Id,
    identifiers: &[&Identifier],
    until: Timestamp,
) -> Result<Vec<Authorization>> {
    let found = Entity::find()
        .filter(Column::Account.eq(account.to_string()))
        .filter(Column::Identifier.is_in(identifiers.iter().map(|identifier| labelled(identifier))))
        .filter(Column::Status.eq(AuthorizationStatus::Valid.as_str()))
        .filter(Column::ExpiresAt.gt(until.unix()))
        .all(conn)
        .await?;
    found.into_iter().map(parse).collect()
}

/// Notes which challenge is tried, and who validates it.
///
/// # Errors
/// `Conflict` if one is tried already, or it is too late.
pub(super) async fn begin(
    tx: &Tx,
    id: Id,
    method: Method,
    account_url: &str,
    holder: &Label,
    now: Timestamp,
) -> Result<()> {
    let updated = Entity::update_many()
        .col_expr(Column::Method, Expr::value(method.as_str()))
        .col_expr(Column::AccountUrl, Expr::value(account_url))
        .col_expr(Column::Holder, Expr::value(holder.as_str()))
        .col_expr(Column::LeasedUntil, Expr::value((now + LEASE).unix()))
        .filter(Column::Id.eq(id.to_string()))
        .filter(Column::Status.eq(AuthorizationStatus::Pending.as_str()))
        .filter(Column::Method.is_null())
        .filter(Column::ExpiresAt.gt(now.unix()))
        .exec(tx.conn())
        .await?;
    match updated.rows_affected {
        1 => Ok(()),
        _ => Err(Error::conflict("a challenge of the authorization is tried already")),
    }
}

/// Takes over validations whose lease has run out.
pub(super) async fn claim(tx: &Tx, node: &Label, now: Timestamp) -> Result<Vec<Authorization>> {
    let taken = leases::claim::<Entity>(tx, node, now, now + LEASE, TAKEN_UP).await?;
    taken.into_iter().map(parse).collect()
}

/// Writes down what a validation found.
///
/// # Errors
/// `Conflict` if it is decided already, or was given up meanwhile.
pub(super) async fn decide(
    tx: &Tx,
    id: Id,
    status: AuthorizationStatus,
    expires: Option<Timestamp>,
    error: Option<&Problem>,
    now: Timestamp,
) -> Result<()> {
    let error = error.map(serde_json::to_string).transpose();
    let error = error.map_err(|e| Error::internal("a problem cannot be written").because(e))?;
    let validated = expires.map(|_| now.unix());
    let mut update = Entity::update_many()
        .col_expr(Column::Status, Expr::value(status.as_str()))
        .col_expr(Column::ValidatedAt, Expr::value(validated))
        .col_expr(Column::Error, Expr::value(error))
        .col_expr(Column::Holder, Expr::value(None::<String>))
        .col_expr(Column::LeasedUntil, Expr::value(None::<i64>))
        .filter(Column::Id.eq(id.to_string()))
        .filter(Column::Status.eq(AuthorizationStatus::Pending.as_str()))
        .filter(Column::Method.is_not_null());
    if let Some(expires) = expires {
        update = update.col_expr(Column::ExpiresAt, Expr::value(expires.unix()));
    }
    match update.exec(tx.conn()).await?.rows_affected {
        1 => Ok(()),
        _ => Err(Error::conflict("the authorization is decided already")),
    }
}

pub(super) async fn deactivate(tx: &Tx, id: Id) -> Result<()> {
    let open = Condition::any()
        .add(Column::Status.eq(AuthorizationStatus::Pending.as_str()))
        .add(Column::Status.eq(AuthorizationStatus::Valid.as_str()));
    let updated = Entity::update_many()
        .col_expr(Column::Status, Expr::value(AuthorizationStatus::Deactivated.as_str()))
        .col_expr(Column::Holder, Expr::value(None::<String>))
        .col_expr(Column::LeasedUntil, Expr::value(None::<i64>))
        .filter(Column::Id.eq(id.to_string()))
        .filter(open)
        .exec(tx.conn())
        .await?;
    match updated.rows_affected {
        1 => Ok(()),
        _ => Err(Error::conflict("the authorization has ended meanwhile: read it again")),
    }
}

fn labelled(identifier: &Identifier) -> String {
    format!("{}:{identifier}", identifier.kind())
}

fn parse(row: row::Model) -> Result<Authorization> {
    let broken = |what: &str| Error::internal(format!("the {what} of the authorization `{}` cannot be read", row.id));
    let (kind, value) = row.identifier.split_once(':').ok_or_else(|| broken("identifier"))?;
    let error = row.error.as_deref().map(serde_json::from_str::<Problem>).transpose();
    let tried = match &row.method {
        Some(method) => Some(Tried {
            method: method.parse()?,
            account_url: row.account_url.clone().unwrap_or_default(),
            validated: row.validated_at.map(Timestamp::from_unix),
            error: error.map_err(|e| broken("error").because(e))?,
        }),
        None => None,
    };
    Ok(Authorization {
        id: row.id.parse()?,
        account: row.account.parse()?,
        identifier: Identifier::parse(kind, value).map_err(|e| broken("identifier").because(e))?,
        wildcard: row.wildcard,
        expires: Timestamp::from_unix(row.expires_at),
        stored: match row.status.as_str() {
            "deactivated" => AuthorizationStatus::Deactivated,
            "invalid" => AuthorizationStatus::Invalid,
            "pending" => AuthorizationStatus::Pending,
            "valid" => AuthorizationStatus::Valid,
            _ => return Err(broken("status")),
        },
        seed: *row.seed.parse::<Id>()?.as_bytes(),
        tried,
    })
}
