//! Changing what a version may be used for, and when.

use std::sync::Arc;

use super::describe::there;
use super::kind::{KeyOp, KeyOps};
use super::repo;
use super::version::{Attributes, KeyDescribed};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::gate::{Effect, Operation, Permit};
use crate::id::{Label, ObjectName};
use crate::policy::{Action, Resource};
use crate::store::Topic;
use crate::vault::Vault;
use crate::vault::cache::Key;
use crate::vault::retention::{Kept, stale};
use crate::vault::vaults::require_in;
use crate::vault::version::{Tags, VersionRef};

/// What is to be changed; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Whether the version may be used at all.
    pub enabled: Option<bool>,
    /// Before, it makes nothing; `Some(None)` takes that away.
    pub not_before: Option<Option<Timestamp>>,
    /// From then on, it makes nothing; `Some(None)` takes that away.
    pub expires: Option<Option<Timestamp>>,
    /// What it may be used for.
    pub ops: Option<Vec<KeyOp>>,
    /// Notes beside it, all of them.
    pub tags: Option<Tags>,
}

/// Changes a version of a key.
pub struct UpdateKey {
    /// Its vault.
    pub vault: Label,
    /// Its name.
    pub name: ObjectName,
    /// Which version.
    pub version: VersionRef,
    /// What is to be changed.
    pub change: Change,
    /// The key's revision; `Conflict` if it is another.
    pub expect: Option<u64>,
}

impl Operation for UpdateKey {
    const ACTION: Action = Action::UpdateKey;
    const EFFECT: Effect = Effect::Change;
    type Engine = Vault;
    type Output = KeyDescribed;

    fn resource(&self) -> Resource {
        Resource::key(self.vault.clone(), self.name.clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<KeyDescribed> {
        let now = permit.now();
        let key = Arc::new(Key {
            vault: self.vault,
            name: self.name,
        });
        let (cache, wanted, change, expect) = (
            engine.keys.cache.clone(),
            self.version,
            Arc::new(self.change),
            self.expect,
        );
        permit
            .commit(move |tx| {
                let (key, cache, change) = (key.clone(), cache.clone(), change.clone());
                Box::pin(async move {
                    require_in(tx, &key.vault, now).await?;
                    // INVARIANT: first the key's row, which is locked until the commit, then what another node wrote to
                    // its version before: what is not to be changed stays as it is, not as it was.
                    let slot = repo::advance(tx, &key, expect, false, now).await?;
                    let mut found = there(repo::described(tx.conn(), &key, wanted).await?, &key, wanted, now)?;
                    found.revision = slot.ok_or_else(|| stale(Kept::Key, &key, found.revision))?.revision;
                    let version = &mut found.version;
                    version.attributes = Attributes {
                        enabled: change.enabled.unwrap_or(version.attributes.enabled),
                        not_before: change.not_before.unwrap_or(version.attributes.not_before),
                        expires: change.expires.unwrap_or(version.attributes.expires),
                        ops: match &change.ops {
                            Some(ops) => {
                                KeyOps::new(version.kind, ops.iter().copied())?.follow(&version.attributes.ops)?
                            }
                            None => version.attributes.ops.clone(),
                        },
                        tags: change.tags.as_ref().unwrap_or(&version.attributes.tags).clone(),
                    }
                    .checked()?;
                    version.updated = now;
                    repo::update_version(tx, version).await?;
                    tx.note("version", version.ordinal.to_string());
                    tx.note("enabled", version.attributes.enabled.to_string());
                    tx.note("key_ops", version.attributes.ops.to_string());
                    tx.touch(Topic::Keys);
                    tx.on_commit(move || cache.changed(&key));
                    Ok(found)
                })
            })
            .await
    }
}
