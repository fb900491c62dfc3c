//! What was asked for, in the store.

use std::collections::{BTreeMap, HashMap};

use futures::FutureExt;
use sea_orm::sea_query::{Expr, OnConflict, Query};
use sea_orm::{ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter};

use super::Take;
use crate::error::{Error, Result};
use crate::store::entity::rate_limit::{self as row, Column, Entity};
use crate::store::{Store, Together};

/// Keys that are forgotten at once.
const FORGOTTEN: u64 = 1_000;

impl Together for Take {
    async fn write(parts: Vec<Self>, conn: &DatabaseTransaction) -> Result<()> {
        // In the order of keys, so that two transactions never wait for each other.
        let mut asked: BTreeMap<String, (Self, u32)> = BTreeMap::new();
        for part in parts {
            let (latest, count) = asked.entry(part.key.clone()).or_insert_with(|| (part.clone(), 0));
            latest.now = latest.now.max(part.now);
            *count = count.saturating_add(1);
        }
        // INVARIANT: a row that is not there yet is written whatever its room is.
        if let Some((take, _)) = asked
            .values()
            .find(|(take, count)| !take.anyway && *count > take.rule.count)
        {
            return Err(take.refusal(take.now));
        }
        let rows = asked.values().map(|(take, count)| {
            let step = take.rule.step().saturating_mul(i64::from(*count));
            row::ActiveModel {
                name: Set(take.key.clone()),
                paid_at: Set(take.now.saturating_add(step)),
                step: Set(step),
                room: Set(if take.anyway { i64::MAX } else { take.room(*count) }),
            }
        });
        let pay = Expr::cust(
            "case when rate_limit.paid_at > excluded.paid_at - excluded.step then rate_limit.paid_at + excluded.step \
             else excluded.paid_at end",
        );
        let written = Entity::insert_many(rows)
            .on_conflict(
                OnConflict::column(Column::Name)
                    .values([
                        (Column::PaidAt, pay),
                        (Column::Step, Expr::cust("excluded.step")),
                        (Column::Room, Expr::cust("excluded.room")),
                    ])
                    .action_and_where(Expr::cust("rate_limit.paid_at <= excluded.room"))
                    .to_owned(),
            )
            .exec_without_returning(conn)
            .await?;
        if written == asked.len() as u64 {
            return Ok(());
        }
        let paid = paid(conn, asked.keys().map(String::as_str)).await?;
        let refusals = asked.values().filter_map(|(take, count)| {
            let paid = paid.get(&take.key)?;
            (!take.anyway && *paid > take.room(*count)).then(|| take.refusal(*paid))
        });
        // The one that makes the caller wait longest.
        let refusal = refusals.max_by_key(Error::retry_in);
        Err(refusal.unwrap_or_else(|| Error::unavailable("a limit changed meanwhile: try again")))
    }
}

/// When what keys were asked for is paid off, in microseconds since the epoch.
pub(super) async fn paid<C: ConnectionTrait>(
    conn: &C,
    keys: impl Iterator<Item = &str>,
) -> Result<HashMap<String, i64>> {
    let rows = Entity::find().filter(Column::Name.is_in(keys)).all(conn).await?;
    Ok(rows.into_iter().map(|row| (row.name, row.paid_at)).collect())
}

/// Deletes what was paid off before, a few at a time: whoever waits for the store waits for one step only.
pub(super) async fn forget(store: &Store, before: i64) -> Result<()> {
    loop {
        let forgotten = store
            .transact(move |tx| {
                async move {
                    let some = Query::select()
                        .column(Column::Name)
                        .from(Entity)
                        .and_where(Column::PaidAt.lt(before))
                        .limit(FORGOTTEN)
                        .to_owned();
                    let deleted = Entity::delete_many()
                        .filter(Column::Name.in_subquery(some))
                        // What was asked for since stays.
                        .filter(Column::PaidAt.lt(before))
                        .exec(tx.conn())
                        .await?;
                    Ok(deleted.rows_affected)
                }
                .boxed()
            })
            .await?;
        if forgotten < FORGOTTEN {
            return Ok(());
        }
    }
}
