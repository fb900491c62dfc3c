//! Where each sink goes on after a restart.

use futures::FutureExt as _;
use sea_orm::ActiveValue::Set;
use sea_orm::EntityTrait as _;
use sea_orm::sea_query::OnConflict;

use crate::error::Result;
use crate::store::Store;
use crate::store::entity::audit_sink;

/// The index of the record that a sink of this node gets next; `None` for one that is new.
pub(super) async fn next(store: &Store, name: &str) -> Result<Option<u64>> {
    let key = (store.node().to_string(), name.to_owned());
    let row = audit_sink::Entity::find_by_id(key).one(store.read()).await?;
    Ok(row.map(|row| u64::try_from(row.next).unwrap_or(0)))
}

/// Keeps it.
pub(super) async fn keep(store: &Store, name: &str, next: u64) -> Result<()> {
    let row = audit_sink::ActiveModel {
        log: Set(store.node().to_string()),
        name: Set(name.to_owned()),
        next: Set(i64::try_from(next).unwrap_or(i64::MAX)),
    };
    store
        .transact(move |tx| {
            let row = row.clone();
            async move {
                audit_sink::Entity::insert(row)
                    .on_conflict(
                        OnConflict::columns([audit_sink::Column::Log, audit_sink::Column::Name])
                            .update_column(audit_sink::Column::Next)
                            .to_owned(),
                    )
                    .exec_without_returning(tx.conn())
                    .await?;
                Ok(())
            }
            .boxed()
        })
        .await
}
