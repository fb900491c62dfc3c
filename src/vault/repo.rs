//! The table `vault`.

use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::vaults::VaultEntry;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::Label;
use crate::store::entity::vault;
use crate::store::{self, Store, Tx};

pub(super) async fn insert_vault(tx: &Tx, entry: &VaultEntry) -> Result<()> {
    vault::Entity::insert(vault::ActiveModel {
        name: Set(entry.name.to_string()),
        created_at: Set(entry.created.unix()),
        created_by: Set(entry.created_by.clone()),
    })
    .exec_without_returning(tx.conn())
    .await
    .map_err(|e| match store::is_unique_violation(&e) {
        true => Error::conflict(format!(
            "vault `{}` exists already: use it, or choose another name",
            entry.name
        )),
        false => e.into(),
    })?;
    Ok(())
}

pub(super) async fn vault(store: &Store, name: &Label) -> Result<Option<VaultEntry>> {
    let row = vault::Entity::find_by_id(name.as_str()).one(store.read()).await?;
    row.map(VaultEntry::try_from).transpose()
}

pub(super) async fn vaults(store: &Store, after: Option<&Label>, limit: u64) -> Result<Vec<VaultEntry>> {
    let mut query = vault::Entity::find().order_by_asc(vault::Column::Name).limit(limit);
    if let Some(after) = after {
        query = query.filter(vault::Column::Name.gt(after.as_str()));
    }
    query
        .all(store.read())
        .await?
        .into_iter()
        .map(VaultEntry::try_from)
        .collect()
}

impl TryFrom<vault::Model> for VaultEntry {
    type Error = Error;
    fn try_from(row: vault::Model) -> Result<Self> {
        Ok(Self {
            name: row.name.parse()?,
            created: Timestamp::from_unix(row.created_at),
            created_by: row.created_by,
        })
    }
}
