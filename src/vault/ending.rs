//! How vaults end: deleted, recovered, removed for good.
//!
//! A deleted vault is a mark on its row. What is in it stays as it is and is not found, because every query for an object
//! asks for a live vault; what was cached is dropped on every node.

use futures::FutureExt;

use super::retention::Until;
use super::vaults::{VaultEntry, live, no_vault};
use super::{Vault, repo};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::gate::{Effect, Gate, Operation, Permit};
use crate::id::Label;
use crate::identity::Caller;
use crate::policy::{Action, Resource};
use crate::store::{Topic, Tx};

/// How many objects of a kind are removed at a time, so that nobody waits long for the writer.
const BATCH: u64 = 500;

/// Deletes a vault with all that is in it. It can be recovered for its days of retention, and its name is taken as long.
pub struct DeleteVault {
    /// Its name.
    pub name: Label,
}

impl Operation for DeleteVault {
    const ACTION: Action = Action::DeleteVault;
    const EFFECT: Effect = Effect::Change;
    type Engine = Vault;
    type Output = VaultEntry;

    fn resource(&self) -> Resource {
        Resource::Vault(self.name.clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<VaultEntry> {
        let (now, name) = (permit.now(), self.name);
        let (secrets, keys) = (engine.secrets.clone(), engine.keys.cache());
        permit
            .commit(move |tx| {
                let (name, secrets, keys) = (name.clone(), secrets.clone(), keys.clone());
                async move {
                    let mut entry = live(repo::locked(tx, &name).await?, &name, now)?;
                    if repo::has_certificates(tx, &name).await? {
                        return Err(Error::conflict(format!(
                            "vault `{name}` has certificates, which are renewed and delivered from it: a vault is \
                             deleted only without any"
                        )));
                    }
                    let until = Until::after(now, entry.retention_days);
                    entry.until = Some(until);
                    repo::update_vault(tx, &entry).await?;
                    entry.revision = entry.revision.saturating_add(1);
                    tx.note("recoverable_until", until.recoverable_until.to_string());
                    tx.touch(Topic::Secrets);
                    tx.touch(Topic::Keys);
                    tx.on_commit(move || {
                        secrets.clear();
                        keys.clear();
                    });
                    Ok(entry)
                }
                .boxed()
            })
            .await
    }
}

/// Brings a deleted vault back, with all that was in it.
pub struct RecoverVault {
    /// Its name.
    pub name: Label,
}

impl Operation for RecoverVault {
    const ACTION: Action = Action::RecoverVault;
    const EFFECT: Effect = Effect::Change;
    type Engine = Vault;
    type Output = VaultEntry;

    fn resource(&self) -> Resource {
        Resource::Vault(self.name.clone())
    }

    async fn run(self, _: &Vault, permit: &Permit) -> Result<VaultEntry> {
        let (now, name) = (permit.now(), self.name);
        permit
            .commit(move |tx| {
                let name = name.clone();
                async move {
                    let (mut entry, until) = deleted(tx, &name).await?;
                    if !until.is_kept(now) {
                        return Err(no_vault(&name));
                    }
                    entry.until = None;
                    repo::update_vault(tx, &entry).await?;
                    entry.revision = entry.revision.saturating_add(1);
                    tx.touch(Topic::Secrets);
                    tx.touch(Topic::Keys);
                    Ok(entry)
                }
                .boxed()
            })
            .await
    }
}

/// Removes a deleted vault for good, with all that was in it. From then on it cannot be recovered; what is left of a large
/// one is removed by the upkeep, and its name is free after that.
pub struct PurgeVault {
    /// Its name.
    pub name: Label,
}

impl Operation for PurgeVault {
    const ACTION: Action = Action::PurgeVault;
    const EFFECT: Effect = Effect::Change;
    type Engine = Vault;
    type Output = ();

    fn resource(&self) -> Resource {
        Resource::Vault(self.name.clone())
    }

    async fn run(self, _: &Vault, permit: &Permit) -> Result<()> {
        let (now, name) = (permit.now(), self.name);
        permit
            .commit(move |tx| {
                let name = name.clone();
                async move {
                    let (mut entry, until) = deleted(tx, &name).await?;
                    if entry.purge_protection && until.is_kept(now) {
                        return Err(Error::conflict(format!(
                            "vault `{name}` has purge protection: it is kept until {}, whoever asks",
                            until.recoverable_until
                        )));
                    }
                    if !repo::remove(tx, &name, BATCH).await? {
                        entry.until = Some(Until {
                            recoverable_until: now,
                            ..until
                        });
                        repo::update_vault(tx, &entry).await?;
                    }
                    Ok(())
                }
                .boxed()
            })
            .await
    }
}

/// Removes for good some of what was in a vault whose retention has ended, and at last the vault.
struct PurgeEnded(Label);

impl Operation for PurgeEnded {
    const ACTION: Action = Action::PurgeExpired;
    const EFFECT: Effect = Effect::Change;
    type Engine = Vault;
    type Output = ();

    fn resource(&self) -> Resource {
        Resource::Everything
    }

    async fn run(self, _: &Vault, permit: &Permit) -> Result<()> {
        let (now, name) = (permit.now(), self.0);
        permit
            .commit(move |tx| {
                let name = name.clone();
                async move {
                    make_room(tx, &name, now).await?;
                    tx.note("vault", name.to_string());
                    Ok(())
                }
                .boxed()
            })
            .await
    }
}

/// Removes what a vault of this name left, if its retention has ended, so that another may have its name.
///
/// # Errors
/// `Conflict` if the name is taken.
pub(super) async fn make_room(tx: &Tx, name: &Label, now: Timestamp) -> Result<()> {
    let Some(VaultEntry { until: Some(until), .. }) = repo::locked(tx, name).await? else {
        return Ok(());
    };
    if until.is_kept(now) {
        return Err(Error::conflict(format!(
            "vault `{name}` was deleted and keeps its name until {}: recover it, purge it, or choose another name",
            until.recoverable_until
        )));
    }
    repo::remove(tx, name, BATCH).await.map(drop)
}

async fn deleted(tx: &Tx, name: &Label) -> Result<(VaultEntry, Until)> {
    let entry = repo::locked(tx, name).await?.ok_or_else(|| no_vault(name))?;
    match entry.until {
        Some(until) => Ok((entry, until)),
        None => Err(Error::conflict(format!(
            "vault `{name}` is not deleted: delete it first, or leave it as it is"
        ))),
    }
}

impl Vault {
    /// Removes every vault whose retention has ended, some of what is in it at a time.
    pub(super) async fn purge_vaults(&self, gate: &Gate, caller: &Caller) -> Result<()> {
        while let Some(name) = repo::ended(&self.store, gate.clock().now()).await? {
            gate.perform(caller, self, PurgeEnded(name)).await?;
        }
        Ok(())
    }
}
