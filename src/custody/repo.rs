//! The table `token_key`.

use sea_orm::sea_query::Expr;
use sea_orm::{ActiveValue, ColumnTrait, EntityTrait, QueryFilter};

use crate::clock::Timestamp;
use crate::error::Result;
use crate::key_type::KeyType;
use crate::store::Store;
use crate::store::entity::token_key;

/// What the register knows of a key.
pub(super) struct Row {
    pub(super) kind: KeyType,
    pub(super) made_by: String,
    pub(super) created_at: Timestamp,
    /// `None` while it is only planned.
    pub(super) proof: Option<Proof>,
}

/// By what a made key is known again.
#[derive(Clone)]
pub(super) enum Proof {
    Spki(Vec<u8>),
    CheckValue(Vec<u8>),
}

pub(super) async fn find(store: &Store, label: &str) -> Result<Option<Row>> {
    let row = token_key::Entity::find_by_id(label.to_owned())
        .one(store.read())
        .await?;
    row.map(Row::try_from).transpose()
}

/// Says that a key will be made.
pub(super) async fn plan(store: &Store, label: &str, kind: KeyType, now: Timestamp) -> Result<()> {
    let (label, node) = (label.to_owned(), store.node().to_string());
    store
        .transact(move |tx| {
            let (label, node) = (label.clone(), node.clone());
            Box::pin(async move {
                token_key::Entity::insert(token_key::ActiveModel {
                    label: ActiveValue::Set(label),
                    key_type: ActiveValue::Set(kind.to_string()),
                    made: ActiveValue::Set(false),
                    spki: ActiveValue::Set(None),
                    check_value: ActiveValue::Set(None),
                    made_by: ActiveValue::Set(Some(node)),
                    created_at: ActiveValue::Set(now.unix()),
                })
                .exec_without_returning(tx.conn())
                .await?;
                Ok(())
            })
        })
        .await
}

/// Says that a planned key is made. What is said once is never said otherwise: a row that is made stays as it is.
pub(super) async fn confirm(store: &Store, label: &str, proof: Proof) -> Result<()> {
    let label = label.to_owned();
    store
        .transact(move |tx| {
            let (label, proof) = (label.clone(), proof.clone());
            Box::pin(async move {
                let (column, bytes) = match proof {
                    Proof::Spki(bytes) => (token_key::Column::Spki, bytes),
                    Proof::CheckValue(bytes) => (token_key::Column::CheckValue, bytes),
                };
                token_key::Entity::update_many()
                    .col_expr(token_key::Column::Made, Expr::value(true))
                    .col_expr(column, Expr::value(bytes))
                    .filter(token_key::Column::Label.eq(label))
                    .filter(token_key::Column::Made.eq(false))
                    .exec(tx.conn())
                    .await?;
                Ok(())
            })
        })
        .await
}

impl TryFrom<token_key::Model> for Row {
    type Error = crate::error::Error;

    fn try_from(row: token_key::Model) -> Result<Self> {
        let proof = match (row.made, row.spki, row.check_value) {
            (false, _, _) => None,
            (true, Some(spki), None) => Some(Proof::Spki(spki)),
            (true, None, Some(check_value)) => Some(Proof::CheckValue(check_value)),
            (true, _, _) => {
                return Err(Self::Error::internal(format!(
                    "the register's row of token key `{}` is damaged: it has neither public key nor check value, or both",
                    row.label
                )));
            }
        };
        Ok(Self {
            kind: row.key_type.parse()?,
            made_by: row.made_by.unwrap_or_default(),
            created_at: Timestamp::from_unix(row.created_at),
            proof,
        })
    }
}
