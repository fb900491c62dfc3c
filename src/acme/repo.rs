//! What orders and authorizations are in the store alike: rows that a node works on under a lease, and that are over one
//! day.
//!
//! CRASH: a row whose lease has run out is taken over by whoever comes first; a node that starts gives back what it held
//! before, because nobody else runs under its name.

use sea_orm::sea_query::{Expr, Query};
use sea_orm::{ColumnTrait, Condition, DatabaseConnection, EntityTrait, QueryFilter, QuerySelect};

use crate::clock::Timestamp;
use crate::error::Result;
use crate::id::Label;
use crate::store::Tx;
use crate::store::entity::{acme_authorization, acme_order};

/// Authorizations.
pub(super) use acme_authorization::Entity as Authorizations;
/// Orders.
pub(super) use acme_order::Entity as Orders;

/// A table of such rows.
pub(super) trait Leased: EntityTrait {
    const ID: Self::Column;
    /// The node that has the lease.
    const HOLDER: Self::Column;
    /// Until when.
    const LEASED_UNTIL: Self::Column;
    /// When the row is over.
    const ENDS: Self::Column;

    /// A row's id, and until when it is leased.
    fn lease(row: &Self::Model) -> (&str, Option<i64>);
}

impl Leased for Authorizations {
    const ID: Self::Column = acme_authorization::Column::Id;
    const HOLDER: Self::Column = acme_authorization::Column::Holder;
    const LEASED_UNTIL: Self::Column = acme_authorization::Column::LeasedUntil;
    const ENDS: Self::Column = acme_authorization::Column::ExpiresAt;

    fn lease(row: &Self::Model) -> (&str, Option<i64>) {
        (&row.id, row.leased_until)
    }
}

impl Leased for Orders {
    const ID: Self::Column = acme_order::Column::Id;
    const HOLDER: Self::Column = acme_order::Column::Holder;
    const LEASED_UNTIL: Self::Column = acme_order::Column::LeasedUntil;
    const ENDS: Self::Column = acme_order::Column::EndsAt;

    fn lease(row: &Self::Model) -> (&str, Option<i64>) {
        (&row.id, row.leased_until)
    }
}

/// When the first lease runs out; asked without a lock, so that an idle node writes nothing.
pub(super) async fn next_lease<E: Leased>(conn: &DatabaseConnection) -> Result<Option<Timestamp>> {
    let next = E::find()
        .select_only()
        .column_as(E::LEASED_UNTIL.min(), "next")
        .into_tuple::<Option<i64>>()
        .one(conn)
        .await?;
    Ok(next.flatten().map(Timestamp::from_unix))
}

/// Takes over rows whose lease has run out, `most` at most, until `until`.
pub(super) async fn claim<E: Leased>(
    tx: &Tx,
    node: &Label,
    now: Timestamp,
    until: Timestamp,
    most: u64,
) -> Result<Vec<E::Model>> {
    let left = E::find()
        .filter(E::LEASED_UNTIL.lte(now.unix()))
        .limit(most)
        .all(tx.conn())
        .await?;
    let mut taken = Vec::new();
    for row in left {
        let (id, leased_until) = E::lease(&row);
        let updated = E::update_many()
            .col_expr(E::HOLDER, Expr::value(node.as_str()))
            .col_expr(E::LEASED_UNTIL, Expr::value(until.unix()))
            .filter(E::ID.eq(id))
            .filter(E::LEASED_UNTIL.eq(leased_until))
            .exec(tx.conn())
            .await?;
        if updated.rows_affected == 1 {
            taken.push(row);
        }
    }
    Ok(taken)
}

/// Gives back what this node held before it ended.
pub(super) async fn release<E: Leased>(tx: &Tx, node: &Label, now: Timestamp) -> Result<()> {
    E::update_many()
        .col_expr(E::LEASED_UNTIL, Expr::value(now.unix()))
        .filter(E::HOLDER.eq(node.as_str()))
        .filter(E::LEASED_UNTIL.is_not_null())
        .exec(tx.conn())
        .await?;
    Ok(())
}

/// Whether any row was over before then.
pub(super) async fn has_ended<E: Leased>(conn: &DatabaseConnection, before: Timestamp) -> Result<bool> {
    let first = E::find()
        .select_only()
        .column(E::ID)
        .filter(ended::<E>(before))
        .into_tuple::<String>()
        .one(conn)
        .await?;
    Ok(first.is_some())
}

/// Deletes rows that were over before then, `most` at most; how many.
pub(super) async fn forget<E: Leased>(tx: &Tx, before: Timestamp, most: u64) -> Result<u64> {
    let some = Query::select()
        .column(E::ID)
        .from(E::default())
        .cond_where(ended::<E>(before))
        .limit(most)
        .to_owned();
    let deleted = E::delete_many()
        .filter(E::ID.in_subquery(some))
        .filter(ended::<E>(before))
        .exec(tx.conn())
        .await?;
    Ok(deleted.rows_affected)
}

/// INVARIANT: what somebody works on is never over.
fn ended<E: Leased>(before: Timestamp) -> Condition {
    Condition::all()
        .add(E::ENDS.lt(before.unix()))
        .add(E::LEASED_UNTIL.is_null())
}
