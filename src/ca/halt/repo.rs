//! Stops and blocked keys in the store.

use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, ColumnTrait, DatabaseConnection, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::{BlockedKey, Stop};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::id::Label;
use crate::store::Tx;
use crate::store::entity::{blocked_key, issuing_stop};

/// All stops; there are few.
pub(super) async fn stops(conn: &DatabaseConnection) -> Result<Vec<Stop>> {
    let label = |text: String| -> Result<Option<Label>> { (!text.is_empty()).then(|| text.parse()).transpose() };
    issuing_stop::Entity::find()
        .order_by_asc(issuing_stop::Column::StoppedAt)
        .all(conn)
        .await?
        .into_iter()
        .map(|row| {
            Ok(Stop {
                authority: label(row.authority)?,
                profile: label(row.profile)?,
                reason: row.reason,
                stopped_at: Timestamp::from_unix(row.stopped_at),
                stopped_by: row.stopped_by,
            })
        })
        .collect()
}

/// `false`: it was there already.
pub(super) async fn insert_stop(tx: &Tx, stop: &Stop) -> Result<bool> {
    let inserted = issuing_stop::Entity::insert(issuing_stop::ActiveModel {
        authority: Set(text(stop.authority.as_ref())),
        profile: Set(text(stop.profile.as_ref())),
        reason: Set(stop.reason.clone()),
        stopped_by: Set(stop.stopped_by.clone()),
        stopped_at: Set(stop.stopped_at.unix()),
    })
    .on_conflict(
        OnConflict::columns([issuing_stop::Column::Authority, issuing_stop::Column::Profile])
            .do_nothing()
            .to_owned(),
    )
    .exec_without_returning(tx.conn())
    .await?;
    Ok(inserted == 1)
}

/// `false`: there was none.
pub(super) async fn delete_stop(tx: &Tx, authority: Option<&Label>, profile: Option<&Label>) -> Result<bool> {
    let deleted = issuing_stop::Entity::delete_by_id((text(authority), text(profile)))
        .exec(tx.conn())
        .await?;
    Ok(deleted.rows_affected == 1)
}

fn text(label: Option<&Label>) -> String {
    label.map(ToString::to_string).unwrap_or_default()
}

/// `false`: it was blocked already.
pub(super) async fn insert_blocked(tx: &Tx, key: &BlockedKey) -> Result<bool> {
    let inserted = blocked_key::Entity::insert(blocked_key::ActiveModel {
        spki_sha256: Set(key.spki_sha256.clone()),
        reason: Set(key.reason.clone()),
        blocked_by: Set(key.blocked_by.clone()),
        blocked_at: Set(key.blocked_at.unix()),
    })
    .on_conflict(
        OnConflict::column(blocked_key::Column::SpkiSha256)
            .do_nothing()
            .to_owned(),
    )
    .exec_without_returning(tx.conn())
    .await?;
    Ok(inserted == 1)
}

/// By hash, behind `after`.
pub(super) async fn blocked(conn: &DatabaseConnection, after: Option<&str>, limit: u32) -> Result<Vec<BlockedKey>> {
    let rows = blocked_key::Entity::find()
        .filter(blocked_key::Column::SpkiSha256.gt(after.unwrap_or_default()))
        .order_by_asc(blocked_key::Column::SpkiSha256)
        .limit(u64::from(limit))
        .all(conn)
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| BlockedKey {
            spki_sha256: row.spki_sha256,
            reason: row.reason,
            blocked_by: row.blocked_by,
            blocked_at: Timestamp::from_unix(row.blocked_at),
        })
        .collect())
}
