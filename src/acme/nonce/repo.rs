//! Used nonces and the key of nonces in the store.

use futures::FutureExt;
use sea_orm::sea_query::{InsertStatement, OnConflict, Query};
use sea_orm::{ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter};

use super::Nonce;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::store::entity::{acme_key, acme_nonce};
use crate::store::{Store, Together, Tx};

pub(super) async fn key(store: &Store, name: &str) -> Result<Option<Vec<u8>>> {
    let row = acme_key::Entity::find_by_id(name).one(store.read()).await?;
    Ok(row.map(|row| row.sealed))
}

/// Stores a key unless there is one.
pub(super) async fn insert_key(store: &Store, name: &'static str, sealed: Vec<u8>) -> Result<()> {
    store
        .transact(move |tx| {
            let sealed = sealed.clone();
            async move {
                acme_key::Entity::insert(acme_key::ActiveModel {
                    name: Set(name.to_owned()),
                    sealed: Set(sealed),
                })
                .on_conflict(OnConflict::column(acme_key::Column::Name).do_nothing().to_owned())
                .exec_without_returning(tx.conn())
                .await?;
                Ok(())
            }
            .boxed()
        })
        .await
}

/// Inserts those that are not there, and gives them.
pub(super) async fn insert(tx: &Tx, nonces: &[Nonce]) -> Result<Vec<String>> {
    let mut insert = insertion(nonces);
    insert.returning_col(acme_nonce::Column::Nonce);
    let rows = tx.conn().query_all(&insert).await?;
    Ok(rows
        .iter()
        .map(|row| row.try_get_by_index::<String>(0))
        .collect::<Result<_, _>>()?)
}

/// Inserts those that are not there.
impl Together for Nonce {
    async fn write(parts: Vec<Self>, conn: &DatabaseTransaction) -> Result<()> {
        conn.execute(&insertion(&parts)).await?;
        Ok(())
    }
}

fn insertion(nonces: &[Nonce]) -> InsertStatement {
    let mut insert = Query::insert();
    insert
        .into_table(acme_nonce::Entity)
        .columns([acme_nonce::Column::Nonce, acme_nonce::Column::MintedAt])
        .on_conflict(OnConflict::column(acme_nonce::Column::Nonce).do_nothing().to_owned());
    for nonce in nonces {
        insert.values_panic([hex::encode(nonce.id).into(), nonce.minted.unix().into()]);
    }
    insert
}

/// Forgets those that were made before.
pub(super) async fn forget(tx: &Tx, before: Timestamp) -> Result<()> {
    acme_nonce::Entity::delete_many()
        .filter(acme_nonce::Column::MintedAt.lt(before.unix()))
        .exec(tx.conn())
        .await?;
    Ok(())
}
