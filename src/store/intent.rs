//! Acts outside the database that were begun: a row from the intent's commit until an outcome closes it.

use sea_orm::{ActiveValue::Set, ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter, QueryOrder};

use super::entity::intent;
use super::{Store, Tx};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::id::Label;

/// An act that was begun and has no outcome yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenIntent {
    /// The id of the intent's audit record.
    pub id: String,
    /// That record's bytes.
    pub record: Vec<u8>,
}

impl Tx {
    /// Whether the act of this intent has no outcome yet.
    ///
    /// # Errors
    /// The database's.
    pub async fn is_intent_open(&self, id: &str) -> Result<bool> {
        Ok(intent::Entity::find_by_id(id).one(self.conn()).await?.is_some())
    }
}

/// Writes the rows of a batch: those of acts that begin, and of acts that have ended.
pub(super) async fn write(
    conn: &DatabaseTransaction,
    node: &Label,
    opened: Vec<(OpenIntent, Timestamp)>,
    closed: Vec<String>,
) -> Result<(), DbErr> {
    if !opened.is_empty() {
        intent::Entity::insert_many(opened.into_iter().map(|(open, now)| intent::ActiveModel {
            id: Set(open.id),
            node: Set(node.to_string()),
            created_at: Set(now.unix()),
            record: Set(open.record),
        }))
        .exec_without_returning(conn)
        .await?;
    }
    if !closed.is_empty() {
        intent::Entity::delete_many()
            .filter(intent::Column::Id.is_in(closed))
            .exec(conn)
            .await?;
    }
    Ok(())
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
