//! Idempotency keys in the store.

use sea_orm::sea_query::Expr;
use sea_orm::{ActiveValue::Set, ColumnTrait, DatabaseConnection, EntityTrait, QueryFilter};

use crate::ca::State;
use crate::ca::repo::find;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::store::entity::issue_request;
use crate::store::{Tx, is_unique_violation};

/// A request that its caller tells from others by a key.
#[derive(Clone, Debug)]
pub(super) struct RequestRow {
    pub(super) requested_by: String,
    pub(super) key: String,
    pub(super) digest: String,
    pub(super) serial: String,
}

/// The caller's request with this key.
pub(super) async fn request(conn: &DatabaseConnection, requested_by: &str, key: &str) -> Result<Option<RequestRow>> {
    let row = issue_request::Entity::find_by_id((requested_by.to_owned(), key.to_owned()))
        .one(conn)
        .await?;
    Ok(row.map(|row| RequestRow {
        requested_by: row.requested_by,
        key: row.idempotency_key,
        digest: row.digest,
        serial: row.serial,
    }))
}

/// `false`: the key is there already.
pub(super) async fn insert_request(tx: &Tx, row: &RequestRow, now: Timestamp) -> Result<bool> {
    let row = row.clone();
    let inserted = issue_request::Entity::insert(issue_request::ActiveModel {
        requested_by: Set(row.requested_by),
        idempotency_key: Set(row.key),
        digest: Set(row.digest),
        serial: Set(row.serial),
        created_at: Set(now.unix()),
    })
    .exec_without_returning(tx.conn())
    .await;
    match inserted {
        Ok(_) => Ok(true),
        Err(e) if is_unique_violation(&e) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Points the key at another certificate instead of `before`, which was not completed. `false`: it was, or somebody
/// else was faster.
pub(super) async fn take_request_over(tx: &Tx, row: &RequestRow, before: &str, now: Timestamp) -> Result<bool> {
    // The update first: from then on the row is this transaction's, and what is read is what holds.
    let moved = issue_request::Entity::update_many()
        .col_expr(issue_request::Column::Serial, Expr::value(row.serial.clone()))
        .col_expr(issue_request::Column::CreatedAt, Expr::value(now.unix()))
        .filter(issue_request::Column::RequestedBy.eq(row.requested_by.clone()))
        .filter(issue_request::Column::IdempotencyKey.eq(row.key.clone()))
        .filter(issue_request::Column::Serial.eq(before))
        .exec(tx.conn())
        .await?;
    let completed = find(tx.conn(), before)
        .await?
        .is_some_and(|issued| issued.state == State::Issued);
    Ok(moved.rows_affected == 1 && !completed)
}

/// Whether the key still points at this certificate; nobody points it elsewhere until the commit.
pub(super) async fn holds_request(tx: &Tx, row: &RequestRow, serial: &str) -> Result<bool> {
    let held = issue_request::Entity::update_many()
        .col_expr(issue_request::Column::Serial, Expr::value(serial.to_owned()))
        .filter(issue_request::Column::RequestedBy.eq(row.requested_by.clone()))
        .filter(issue_request::Column::IdempotencyKey.eq(row.key.clone()))
        .filter(issue_request::Column::Serial.eq(serial))
        .exec(tx.conn())
        .await?;
    Ok(held.rows_affected == 1)
}

/// Forgets the keys of old requests.
pub(super) async fn forget_requests(tx: &Tx, before: Timestamp) -> Result<()> {
    issue_request::Entity::delete_many()
        .filter(issue_request::Column::CreatedAt.lt(before.unix()))
        .exec(tx.conn())
        .await?;
    Ok(())
}
