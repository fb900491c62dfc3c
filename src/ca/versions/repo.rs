//! Versions of profiles in the store.

use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, ColumnTrait, DatabaseConnection, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::clock::Timestamp;
use crate::error::Result;
use crate::id::Label;
use crate::store::Tx;
use crate::store::entity::profile_version::{ActiveModel, Column, Entity};
use crate::x509::profile::Profile;

/// Which of these are there.
pub(super) async fn known(conn: &DatabaseConnection, hashes: impl Iterator<Item = &str>) -> Result<Vec<String>> {
    let known = Entity::find().select_only().column(Column::Hash);
    Ok(known.filter(Column::Hash.is_in(hashes)).into_tuple().all(conn).await?)
}

/// Another node may have been faster, with the same text.
pub(super) async fn insert(tx: &Tx, profiles: &[Profile], now: Timestamp) -> Result<()> {
    let rows = profiles.iter().map(|profile| ActiveModel {
        hash: Set(profile.hash().to_owned()),
        name: Set(profile.name().to_string()),
        text: Set(profile.text().to_owned()),
        created_at: Set(now.unix()),
    });
    let once = OnConflict::column(Column::Hash).do_nothing().to_owned();
    Entity::insert_many(rows)
        .on_conflict(once)
        .exec_without_returning(tx.conn())
        .await?;
    Ok(())
}

/// Name, hash and time of all, by name, the newest of each first.
pub(super) async fn all(conn: &DatabaseConnection) -> Result<Vec<(String, String, Timestamp)>> {
    let rows: Vec<(String, String, i64)> = Entity::find()
        .select_only()
        .columns([Column::Name, Column::Hash, Column::CreatedAt])
        .order_by_asc(Column::Name)
        .order_by_desc(Column::CreatedAt)
        .order_by_asc(Column::Hash)
        .into_tuple()
        .all(conn)
        .await?;
    let rows = rows.into_iter();
    Ok(rows
        .map(|(name, hash, at)| (name, hash, Timestamp::from_unix(at)))
        .collect())
}

/// A version of that profile: since when, and its text.
pub(super) async fn find(conn: &DatabaseConnection, name: &Label, hash: &str) -> Result<Option<(Timestamp, String)>> {
    let found = Entity::find_by_id(hash).filter(Column::Name.eq(name.as_str()));
    let found = found.one(conn).await?;
    Ok(found.map(|row| (Timestamp::from_unix(row.created_at), row.text)))
}

pub(super) async fn text(conn: &DatabaseConnection, hash: &str) -> Result<Option<String>> {
    Ok(Entity::find_by_id(hash).one(conn).await?.map(|row| row.text))
}
