//! Orders in the store.

use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, DatabaseConnection, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect,
};

use super::{Order, OrderStatus};
use crate::acme::authorization::{self, LEASE};
use crate::acme::identifier::Asked;
use crate::acme::problem::{Problem, ProblemType};
use crate::acme::repo as leases;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::{Id, Label};
use crate::store::entity::acme_order::{self as row, Column, Entity};
use crate::store::{Tx, is_unique_violation};

/// Orders that are taken up at once.
const TAKEN_UP: u64 = 16;

/// Writes a new order; `replacing` is the serial of the certificate that it replaces.
///
/// # Errors
/// `alreadyReplaced` if another order replaces it that has not failed.
pub(super) async fn insert(tx: &Tx, order: &Order, replacing: Option<&str>, now: Timestamp) -> Result<()> {
    if let Some(serial) = replacing {
        free_replaced(tx, serial, now).await?;
    }
    let identifiers: Vec<String> = order.identifiers.iter().map(labelled).collect();
    let authorizations: Vec<String> = order.authorizations.iter().map(Id::to_string).collect();
    Entity::insert(row::ActiveModel {
        id: Set(order.id.to_string()),
        account: Set(order.account.to_string()),
        status: Set(order.status.as_str().to_owned()),
        profile: Set(order.profile.to_string()),
        profile_hash: Set(order.profile_hash.clone()),
        identifiers: Set(serde_json::Value::from(identifiers).to_string()),
        authorizations: Set(serde_json::Value::from(authorizations).to_string()),
        created_at: Set(now.unix()),
        expires_at: Set(order.expires.unix()),
        error: Set(None),
        spki: Set(None),
        serial: Set(None),
        holder: Set(None),
        leased_until: Set(None),
        replaces: Set(order.replaces.clone()),
        replacing: Set(replacing.map(str::to_owned)),
        ends_at: Set(Some(order.expires.unix())),
    })
    .exec_without_returning(tx.conn())
    .await
    .map_err(|e| match replacing {
        Some(serial) if is_unique_violation(&e) => already_replaced(serial),
        _ => e.into(),
    })?;
    Ok(())
}

/// Takes a certificate from an order that was to replace it and failed.
async fn free_replaced(tx: &Tx, serial: &str, now: Timestamp) -> Result<()> {
    let holder = Entity::find()
        .filter(Column::Replacing.eq(serial))
        .one(tx.conn())
        .await?;
    let Some(mut holder) = holder.map(parse).transpose()? else {
        return Ok(());
    };
    let relied_on = authorization::repo::all(tx.conn(), &holder.authorizations).await?;
    holder.settle(&relied_on, now);
    if holder.status != OrderStatus::Invalid {
        return Err(already_replaced(serial));
    }
    Entity::update_many()
        .col_expr(Column::Replacing, Expr::value(None::<String>))
        .filter(Column::Id.eq(holder.id.to_string()))
        .exec(tx.conn())
        .await?;
    Ok(())
}

fn already_replaced(serial: &str) -> Error {
    Problem::new(
        ProblemType::AlreadyReplaced,
        format!("another order replaces the certificate `{serial}`: go on with that one, or order without `replaces`"),
    )
    .into()
}

pub(super) async fn find(conn: &DatabaseConnection, id: Id) -> Result<Option<Order>> {
    let found = Entity::find_by_id(id.to_string()).one(conn).await?;
    found.map(parse).transpose()
}

/// The account's orders older than `before`, newest first, without those that failed or ran out of time.
pub(super) async fn page(
    conn: &DatabaseConnection,
    account: Id,
    before: Option<Id>,
    now: Timestamp,
    limit: u64,
) -> Result<Vec<Id>> {
    let alive = Condition::any()
        .add(Column::Status.is_in([OrderStatus::Valid.as_str(), OrderStatus::Processing.as_str()]))
        .add(
            Condition::all()
                .add(Column::Status.eq(OrderStatus::Pending.as_str()))
                .add(Column::ExpiresAt.gt(now.unix())),
        );
    let mut query = Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::Account.eq(account.to_string()))
        .filter(alive)
        .order_by_desc(Column::Id)
        .limit(limit);
    if let Some(before) = before {
        query = query.filter(Column::Id.lt(before.to_string()));
    }
    let ids = query.into_tuple::<String>().all(conn).await?;
    ids.iter().map(|id| id.parse()).collect()
}

/// Turns an order to `processing`, for this serial: from pending, or from `processing` for the serial `from`. `false`:
/// it is something else by now.
pub(super) async fn begin(
    tx: &Tx,
    id: Id,
    from: Option<&str>,
    serial: &str,
    key: &str,
    holder: &Label,
    now: Timestamp,
) -> Result<bool> {
    let mut update = Entity::update_many()
        .col_expr(Column::Status, Expr::value(OrderStatus::Processing.as_str()))
        .col_expr(Column::Spki, Expr::value(key))
        .col_expr(Column::Serial, Expr::value(serial))
        .col_expr(Column::Holder, Expr::value(holder.as_str()))
        .col_expr(Column::LeasedUntil, Expr::value((now + LEASE).unix()))
        .filter(Column::Id.eq(id.to_string()));
    update = match from {
        Some(from) => update
            .filter(Column::Status.eq(OrderStatus::Processing.as_str()))
            .filter(Column::Serial.eq(from)),
        None => update
            .filter(Column::Status.eq(OrderStatus::Pending.as_str()))
            .filter(Column::ExpiresAt.gt(now.unix())),
    };
    Ok(update.exec(tx.conn()).await?.rows_affected == 1)
}

/// Gives an order its certificate, which lasts until `not_after`.
pub(super) async fn complete(tx: &Tx, id: Id, serial: &str, not_after: Timestamp) -> Result<()> {
    let updated = Entity::update_many()
        .col_expr(Column::Status, Expr::value(OrderStatus::Valid.as_str()))
        .col_expr(Column::EndsAt, Expr::value(not_after.unix()))
        .col_expr(Column::Holder, Expr::value(None::<String>))
        .col_expr(Column::LeasedUntil, Expr::value(None::<i64>))
        .filter(Column::Id.eq(id.to_string()))
        .filter(Column::Status.eq(OrderStatus::Processing.as_str()))
        .filter(Column::Serial.eq(serial))
        .exec(tx.conn())
        .await?;
    match updated.rows_affected {
        1 => Ok(()),
        _ => Err(Error::conflict(format!(
            "the order `{id}` was taken up by another node meanwhile: read it again"
        ))),
    }
}

/// Turns an order that is in `processing` for this serial back to pending.
pub(super) async fn give_back(tx: &Tx, id: Id, serial: &str) -> Result<()> {
    Entity::update_many()
        .col_expr(Column::Status, Expr::value(OrderStatus::Pending.as_str()))
        .col_expr(Column::Spki, Expr::value(None::<String>))
        .col_expr(Column::Serial, Expr::value(None::<String>))
        .col_expr(Column::Holder, Expr::value(None::<String>))
        .col_expr(Column::LeasedUntil, Expr::value(None::<i64>))
        .filter(Column::Id.eq(id.to_string()))
        .filter(Column::Status.eq(OrderStatus::Processing.as_str()))
        .filter(Column::Serial.eq(serial))
        .exec(tx.conn())
        .await?;
    Ok(())
}

/// Ends an order that is in `processing` and whose certificate cannot be made.
pub(super) async fn fail(tx: &Tx, id: Id, problem: &Problem) -> Result<()> {
    let problem =
        serde_json::to_string(problem).map_err(|e| Error::internal("a problem cannot be written").because(e))?;
    Entity::update_many()
        .col_expr(Column::Status, Expr::value(OrderStatus::Invalid.as_str()))
        .col_expr(Column::Error, Expr::value(problem))
        .col_expr(Column::Holder, Expr::value(None::<String>))
        .col_expr(Column::LeasedUntil, Expr::value(None::<i64>))
        .filter(Column::Id.eq(id.to_string()))
        .filter(Column::Status.eq(OrderStatus::Processing.as_str()))
        .exec(tx.conn())
        .await?;
    Ok(())
}

/// Takes over orders whose lease has run out, with the keys to certify.
pub(super) async fn claim(tx: &Tx, node: &Label, now: Timestamp) -> Result<Vec<(Order, Vec<u8>)>> {
    let mut taken = Vec::new();
    for found in leases::claim::<Entity>(tx, node, now, now + LEASE, TAKEN_UP).await? {
        let key = hex::decode(found.spki.as_deref().unwrap_or_default())
            .map_err(|e| Error::internal("the key of an order cannot be read").because(e))?;
        taken.push((parse(found)?, key));
    }
    Ok(taken)
}

/// Whether this account's order has the certificate with this serial.
pub(super) async fn ordered_by(conn: &DatabaseConnection, serial: &str, account: Id) -> Result<bool> {
    let found = Entity::find()
        .filter(Column::Serial.eq(serial))
        .filter(Column::Account.eq(account.to_string()))
        .count(conn)
        .await?;
    Ok(found > 0)
}

/// An identifier with its kind, as certificates are listed by.
pub(super) fn labelled(asked: &Asked) -> String {
    format!("{}:{asked}", asked.identifier.kind())
}

fn parse(row: row::Model) -> Result<Order> {
    let broken = |what: &str| Error::internal(format!("the {what} of the order `{}` cannot be read", row.id));
    let list = |what: &str, text: &str| serde_json::from_str::<Vec<String>>(text).map_err(|e| broken(what).because(e));
    let identifiers = list("identifiers", &row.identifiers)?
        .iter()
        .map(|text| {
            let (kind, value) = text.split_once(':').ok_or_else(|| broken("identifiers"))?;
            Asked::parse(kind, value).map_err(|e| broken("identifiers").because(e))
        })
        .collect::<Result<_>>()?;
    let authorizations = list("authorizations", &row.authorizations)?
        .iter()
        .map(|id| id.parse())
        .collect::<Result<_>>()?;
    let error = row.error.as_deref().map(serde_json::from_str::<Problem>).transpose();
    Ok(Order {
        id: row.id.parse()?,
        account: row.account.parse()?,
        identifiers,
        authorizations,
        profile: row.profile.parse()?,
        profile_hash: row.profile_hash,
        expires: Timestamp::from_unix(row.expires_at),
        replaces: row.replaces,
        status: match row.status.as_str() {
            "invalid" => OrderStatus::Invalid,
            "pending" => OrderStatus::Pending,
            "processing" => OrderStatus::Processing,
            "valid" => OrderStatus::Valid,
            _ => return Err(broken("status")),
        },
        error: error.map_err(|e| broken("error").because(e))?,
        serial: row.serial,
    })
}
