//! Acts outside the database that were begun: a row from the intent's commit until an outcome closes it.

use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder};

use super::entity::intent;
use super::{Store, Tx};
use crate::clock::Timestamp;
use crate::error::Result;

/// An act that was begun and has no outcome yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenIntent {
    /// The id of the intent's audit record.
    pub id: String,
    /// That record's bytes.
    pub record: Vec<u8>,
}

impl Tx {
    /// Notes that the act whose intent is recorded as `id` has begun.
    ///
    /// # Errors
    /// The database's.
    pub async fn open_intent(&self, node: &str, id: String, record: Vec<u8>, now: Timestamp) -> Result<()> {
        intent::Entity::insert(intent::ActiveModel {
            id: Set(id),
            node: Set(node.to_owned()),
            created_at: Set(now.unix()),
            record: Set(record),
        })
        .exec_without_returning(self.conn())
        .await?;
        Ok(())
    }

    /// Notes that the act has an outcome. `false`: it had one already.
    ///
    /// # Errors
    /// The database's.
    pub async fn close_intent(&self, id: &str) -> Result<bool> {
        let deleted = intent::Entity::delete_by_id(id).exec(self.conn()).await?;
        Ok(deleted.rows_affected > 0)
    }
}

impl Store {
    /// The acts of this node that were begun and have no outcome, oldest first. After a start these are what a crash
    /// left.
    ///
    /// # Errors
    /// The database's.
    pub async fn open_intents(&self) -> Result<Vec<OpenIntent>> {
        let rows = intent::Entity::find()
            .filter(intent::Column::Node.eq(self.node().as_str()))
            .order_by_asc(intent::Column::CreatedAt)
            .order_by_asc(intent::Column::Id)
            .all(self.read())
            .await?;
        Ok(rows
            .into_iter()
            .map(|row| OpenIntent {
                id: row.id,
                record: row.record,
            })
            .collect())
    }
}
