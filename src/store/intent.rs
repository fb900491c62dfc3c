//! Acts outside the database that were begun: a row from the intent's commit until an outcome closes it.

use sea_orm::{ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder};

use super::entity::intent;
use super::together::Together;
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

/// An act that begins in this batch.
struct Opened {
    intent: OpenIntent,
    node: Label,
    at: Timestamp,
}

/// The id of an act that ends in this batch.
struct Closed(String);

impl Together for Opened {
    async fn write(parts: Vec<Self>, conn: &DatabaseTransaction) -> Result<()> {
        let rows = parts.into_iter().map(|opened| intent::ActiveModel {
            id: Set(opened.intent.id),
            node: Set(opened.node.to_string()),
            created_at: Set(opened.at.unix()),
            record: Set(opened.intent.record),
        });
        intent::Entity::insert_many(rows).exec_without_returning(conn).await?;
        Ok(())
    }
}

impl Together for Closed {
    async fn write(parts: Vec<Self>, conn: &DatabaseTransaction) -> Result<()> {
        intent::Entity::delete_many()
            .filter(intent::Column::Id.is_in(parts.into_iter().map(|Self(id)| id)))
            .exec(conn)
            .await?;
        Ok(())
    }
}

impl Tx {
    /// Whether the act of this intent has no outcome yet.
    ///
    /// # Errors
    /// The database's.
    pub async fn is_intent_open(&self, id: &str) -> Result<bool> {
        Ok(intent::Entity::find_by_id(id).one(self.conn()).await?.is_some())
    }

    /// Notes that the act whose intent is recorded as `intent` has begun on `node`.
    pub fn open_intent(&self, intent: OpenIntent, node: &Label, at: Timestamp) {
        let node = node.clone();
        self.together(Opened { intent, node, at });
    }

    /// Notes that the act has an outcome.
    pub fn close_intent(&self, id: String) {
        self.together(Closed(id));
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
