//! Stored certificates, whole.

use sea_orm::{ColumnTrait, DatabaseConnection, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::Stored;
use crate::error::{Error, Result};
use crate::store::entity::issued;

/// Oldest first, made after `after`; by whoever issued, so that the index on the order is walked.
pub(super) async fn page(conn: &DatabaseConnection, after: Option<&str>, limit: u32) -> Result<Vec<Stored>> {
    issued::Entity::find()
        .filter(issued::Column::Id.gt(after.unwrap_or_default()))
        .filter(issued::Column::Certificate.is_not_null())
        .order_by_asc(issued::Column::Id)
        .limit(u64::from(limit))
        .all(conn)
        .await?
        .into_iter()
        .map(|row| {
            Ok(Stored {
                certificate: row.certificate.unwrap_or_default(),
                id: row.id,
                issuer: row.issuer,
                names: serde_json::from_str(&row.names)
                    .map_err(|e| Error::internal(format!("the names of `{}` cannot be read", row.serial)).because(e))?,
                profile: row.profile.parse()?,
                serial: row.serial,
                spki_sha256: row.spki_sha256,
            })
        })
        .collect()
}
