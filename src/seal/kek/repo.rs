//! The table `kek`, and what of `dek` names one.

use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect,
};

use super::KekStage;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::seal::repo::DekRow;
use crate::store::entity::{dek, kek};
use crate::store::{self, Store, Tx};

/// A generation as it is stored.
pub(super) struct Row {
    pub(super) generation: u32,
    pub(super) label: String,
    pub(super) stage: KekStage,
    pub(super) since: Timestamp,
}

/// All generations, oldest first.
pub(super) async fn rows(conn: &impl ConnectionTrait) -> Result<Vec<Row>> {
    let rows = kek::Entity::find()
        .order_by_asc(kek::Column::Generation)
        .all(conn)
        .await?;
    rows.into_iter().map(Row::try_from).collect()
}

/// `Conflict` if there is this generation already.
pub(super) async fn insert(tx: &Tx, generation: u32, label: &str, stage: KekStage, now: Timestamp) -> Result<()> {
    kek::Entity::insert(kek::ActiveModel {
        generation: Set(generation.into()),
        label: Set(label.to_owned()),
        stage: Set(stage.as_str().to_owned()),
        stage_at: Set(now.unix()),
    })
    .exec_without_returning(tx.conn())
    .await
    .map_err(|e| match store::is_unique_violation(&e) {
        true => super::under_way(label),
        false => e.into(),
    })?;
    Ok(())
}

/// Whether it was in the stage before.
pub(super) async fn advance(tx: &Tx, generation: u32, from: KekStage, to: KekStage, now: Timestamp) -> Result<bool> {
    let done = kek::Entity::update_many()
        .col_expr(kek::Column::Stage, Expr::value(to.as_str()))
        .col_expr(kek::Column::StageAt, Expr::value(now.unix()))
        .filter(kek::Column::Generation.eq(i64::from(generation)))
        .filter(kek::Column::Stage.eq(from.as_str()))
        .exec(tx.conn())
        .await?;
    Ok(done.rows_affected > 0)
}

/// How many data keys each KEK wraps, by its label.
pub(super) async fn wrapped_by(store: &Store) -> Result<Vec<(String, u64)>> {
    let counts: Vec<(String, i64)> = dek::Entity::find()
        .select_only()
        .column(dek::Column::Kek)
        .column_as(dek::Column::Id.count(), "count")
        .group_by(dek::Column::Kek)
        .into_tuple()
        .all(store.read())
        .await?;
    let counts = counts
        .into_iter()
        .map(|(label, count)| (label, u64::try_from(count).unwrap_or(0)));
    Ok(counts.collect())
}

/// How many data keys one KEK wraps.
pub(super) async fn count_wrapped_by(conn: &impl ConnectionTrait, label: &str) -> Result<u64> {
    let of = dek::Entity::find().filter(dek::Column::Kek.eq(label));
    Ok(of.count(conn).await?)
}

/// The data keys that another KEK wraps.
pub(super) async fn not_wrapped_by(store: &Store, label: &str) -> Result<Vec<DekRow>> {
    let rows = dek::Entity::find()
        .filter(dek::Column::Kek.ne(label))
        .order_by_asc(dek::Column::Id)
        .all(store.read())
        .await?;
    rows.into_iter().map(DekRow::try_from).collect()
}

/// Whether it was wrapped by `from`.
pub(super) async fn replace_wrapped(tx: &Tx, id: &Id, from: &str, to: &str, wrapped: &[u8]) -> Result<bool> {
    let done = dek::Entity::update_many()
        .col_expr(dek::Column::Wrapped, Expr::value(wrapped.to_vec()))
        .col_expr(dek::Column::Kek, Expr::value(to))
        .filter(dek::Column::Id.eq(id.to_string()))
        .filter(dek::Column::Kek.eq(from))
        .exec(tx.conn())
        .await?;
    Ok(done.rows_affected > 0)
}

impl TryFrom<kek::Model> for Row {
    type Error = Error;
    fn try_from(row: kek::Model) -> Result<Self> {
        Ok(Self {
            generation: u32::try_from(row.generation)
                .map_err(|e| Error::internal("a generation of the KEK is no number").because(e))?,
            label: row.label,
            stage: row.stage.parse()?,
            since: Timestamp::from_unix(row.stage_at),
        })
    }
}
