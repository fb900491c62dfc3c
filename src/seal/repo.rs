//! The table `dek`.

use sea_orm::sea_query::Expr;
use sea_orm::{ActiveValue, ColumnTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder};

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::store::entity::dek;
use crate::store::{self, Store};

/// Sealings that a node reserves at once: rarely written, and few are lost with a process.
pub(super) const BLOCK: i64 = 1 << 16;
/// Reserved sealings after which a domain gets its next generation: half of the 2^32 that random nonces allow.
const LIMIT: i64 = 1 << 31;

/// A wrapped DEK.
pub(super) struct DekRow {
    pub(super) id: Id,
    pub(super) domain: String,
    pub(super) generation: i64,
    pub(super) wrapped: Vec<u8>,
    pub(super) kek: String,
}

/// What a reservation gave.
pub(super) enum Reserved {
    Block(i64),
    Exhausted,
}

pub(super) async fn find(store: &Store, id: &Id) -> Result<Option<DekRow>> {
    let row = dek::Entity::find_by_id(id.to_string()).one(store.read()).await?;
    row.map(DekRow::try_from).transpose()
}

pub(super) async fn newest(store: &Store, domain: &str) -> Result<Option<DekRow>> {
    let row = dek::Entity::find()
        .filter(dek::Column::Domain.eq(domain))
        .order_by_desc(dek::Column::Generation)
        .one(store.read())
        .await?;
    row.map(DekRow::try_from).transpose()
}

/// `Conflict` if the domain has this generation already.
pub(super) async fn insert(store: &Store, row: DekRow, now: Timestamp) -> Result<()> {
    let model = dek::Model {
        id: row.id.to_string(),
        domain: row.domain,
        generation: row.generation,
        wrapped: row.wrapped,
        kek: row.kek,
        reserved: 0,
        created_at: now.unix(),
    };
    store
        .transact(move |tx| {
            let model = model.clone();
            Box::pin(async move {
                dek::Entity::insert(dek::ActiveModel {
                    id: ActiveValue::Set(model.id),
                    domain: ActiveValue::Set(model.domain),
                    generation: ActiveValue::Set(model.generation),
                    wrapped: ActiveValue::Set(model.wrapped),
                    kek: ActiveValue::Set(model.kek),
                    reserved: ActiveValue::Set(model.reserved),
                    created_at: ActiveValue::Set(model.created_at),
                })
                .exec_without_returning(tx.conn())
                .await
                .map_err(|e| match store::is_unique_violation(&e) {
                    true => Error::conflict("the domain has this data key already"),
                    false => e.into(),
                })?;
                Ok(())
            })
        })
        .await
}

/// Reserves a block of sealings, before any of them is done.
pub(super) async fn reserve(store: &Store, id: &Id) -> Result<Reserved> {
    let id = id.to_string();
    store
        .transact(move |tx| {
            let id = id.clone();
            Box::pin(async move {
                let done = dek::Entity::update_many()
                    .col_expr(dek::Column::Reserved, Expr::col(dek::Column::Reserved).add(BLOCK))
                    .filter(dek::Column::Id.eq(id))
                    .filter(dek::Column::Reserved.lte(LIMIT - BLOCK))
                    .exec(tx.conn())
                    .await?;
                Ok(match done.rows_affected {
                    0 => Reserved::Exhausted,
                    _ => Reserved::Block(BLOCK),
                })
            })
        })
        .await
}

impl TryFrom<dek::Model> for DekRow {
    type Error = Error;
    fn try_from(row: dek::Model) -> Result<Self> {
        Ok(Self {
            id: row.id.parse()?,
            domain: row.domain,
            generation: row.generation,
            wrapped: row.wrapped,
            kek: row.kek,
        })
    }
}

/// A storage writer's hand, for tests.
#[cfg(test)]
pub(super) mod tampering {
    use super::*;

    /// Says that the domain's data key has no sealings left.
    pub(in crate::seal) async fn use_up(store: &Store, domain: &'static str) {
        store
            .transact(move |tx| {
                Box::pin(async move {
                    dek::Entity::update_many()
                        .col_expr(dek::Column::Reserved, Expr::val(LIMIT))
                        .filter(dek::Column::Domain.eq(domain))
                        .exec(tx.conn())
                        .await?;
                    Ok(())
                })
            })
            .await
            .unwrap();
    }

    /// Puts each domain's wrapped key into the other's row.
    pub(in crate::seal) async fn swap_wrapped(store: &Store, one: &'static str, other: &'static str) {
        let (first, second) = (newest(store, one).await.unwrap(), newest(store, other).await.unwrap());
        for (domain, wrapped) in [(one, second.unwrap().wrapped), (other, first.unwrap().wrapped)] {
            store
                .transact(move |tx| {
                    let wrapped = wrapped.clone();
                    Box::pin(async move {
                        dek::Entity::update_many()
                            .col_expr(dek::Column::Wrapped, Expr::val(wrapped))
                            .filter(dek::Column::Domain.eq(domain))
                            .exec(tx.conn())
                            .await?;
                        Ok(())
                    })
                })
                .await
                .unwrap();
        }
    }
}
