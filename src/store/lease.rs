//! Named leases: one holder at a time, for a bounded time.

use std::time::Duration;

use futures::FutureExt;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, ColumnTrait, Condition, EntityTrait, QueryFilter, sea_query::Expr};

use super::Store;
use super::entity::lease;
use crate::clock::Timestamp;
use crate::error::Result;

impl Store {
    /// Takes or extends the lease `name` for this node until `now + for_`. `false`: another node holds it.
    ///
    /// # Errors
    /// As [`Store::transact`].
    pub async fn lease(&self, name: &str, for_: Duration, now: Timestamp) -> Result<bool> {
        let (name, holder) = (name.to_owned(), self.node().to_string());
        let expires_at = (now + for_).unix();
        self.transact(move |tx| {
            let (name, holder) = (name.clone(), holder.clone());
            async move {
                let taken = lease::Entity::update_many()
                    .col_expr(lease::Column::Holder, Expr::value(holder.clone()))
                    .col_expr(lease::Column::ExpiresAt, Expr::value(expires_at))
                    .filter(lease::Column::Name.eq(name.clone()))
                    .filter(
                        Condition::any()
                            .add(lease::Column::Holder.eq(holder.clone()))
                            .add(lease::Column::ExpiresAt.lte(now.unix())),
                    )
                    .exec(tx.conn())
                    .await?;
                if taken.rows_affected > 0 {
                    return Ok(true);
                }
                let made = lease::Entity::insert(lease::ActiveModel {
                    name: Set(name),
                    holder: Set(holder),
                    expires_at: Set(expires_at),
                })
                .on_conflict(OnConflict::column(lease::Column::Name).do_nothing().to_owned())
                .exec_without_returning(tx.conn())
                .await?;
                Ok(made > 0)
            }
            .boxed()
        })
        .await
    }

    /// Gives the lease `name` back, if this node holds it.
    ///
    /// # Errors
    /// As [`Store::transact`].
    pub async fn release(&self, name: &str) -> Result<()> {
        let (name, holder) = (name.to_owned(), self.node().to_string());
        self.transact(move |tx| {
            let (name, holder) = (name.clone(), holder.clone());
            async move {
                lease::Entity::delete_many()
                    .filter(lease::Column::Name.eq(name))
                    .filter(lease::Column::Holder.eq(holder))
                    .exec(tx.conn())
                    .await?;
                Ok(())
            }
            .boxed()
        })
        .await
    }
}
