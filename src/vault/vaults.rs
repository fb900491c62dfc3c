//! Vaults themselves: made, listed, shown and changed. How they end is in `ending`.

use super::page::Page;
use super::retention::Until;
use super::version::Tags;
use super::{RETENTION_DAYS, Vault, domain, repo};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::gate::{Effect, Operation, Permit};
use crate::id::Label;
use crate::policy::{Action, Resource};
use crate::store::{Topic, Tx};

use futures::FutureExt;

/// How many days deleted objects may be kept.
const DAYS: std::ops::RangeInclusive<u32> = 7..=90;

/// A vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultEntry {
    /// Its name.
    pub name: Label,
    /// When it was made.
    pub created: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// Notes beside it.
    pub tags: Tags,
    /// For how many days what is deleted in it, and itself, can be recovered.
    pub retention_days: u32,
    /// Whether nobody may remove before that what is deleted.
    pub purge_protection: bool,
    /// Grows with every change of it.
    pub revision: u64,
    /// While it is deleted: since when, and until when it can be recovered.
    pub until: Option<Until>,
}

/// Makes a vault and its data key.
pub struct CreateVault {
    /// Its name.
    pub name: Label,
    /// Notes beside it.
    pub tags: Tags,
    /// For how many days what is deleted can be recovered, 7 to 90; 90 if nothing is said.
    pub retention_days: Option<u32>,
    /// Whether nobody may remove before that what is deleted. It cannot be switched off.
    pub purge_protection: bool,
}

impl CreateVault {
    /// A vault of which nothing else is said.
    pub fn new(name: Label) -> Self {
        Self {
            name,
            tags: Tags::default(),
            retention_days: None,
            purge_protection: false,
        }
    }
}

impl Operation for CreateVault {
    const ACTION: Action = Action::CreateVault;
    const EFFECT: Effect = Effect::Change;
    type Engine = Vault;
    type Output = VaultEntry;

    fn resource(&self) -> Resource {
        Resource::Vault(self.name.clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<VaultEntry> {
        let entry = VaultEntry {
            name: self.name,
            created: permit.now(),
            created_by: permit.caller().principal.to_string(),
            tags: self.tags,
            retention_days: days(self.retention_days.unwrap_or(RETENTION_DAYS))?,
            purge_protection: self.purge_protection,
            revision: 1,
            until: None,
        };
        // CRASH: a data key without its vault is found and used when the vault is made after all.
        engine.sealer.key(&domain(&entry.name)).await?;
        permit
            .commit(move |tx| {
                let entry = entry.clone();
                async move {
                    super::ending::make_room(tx, &entry.name, entry.created).await?;
                    repo::insert_vault(tx, &entry).await?;
                    tx.touch(Topic::Secrets);
                    Ok(entry)
                }
                .boxed()
            })
            .await
    }
}

/// Lists the vaults that the caller may see, by name.
pub struct ListVaults {
    /// Those that are deleted and can be recovered, instead of those that are there.
    pub deleted: bool,
    /// The last one of the page before.
    pub after: Option<Label>,
    /// How many at most.
    pub limit: u32,
}

impl Operation for ListVaults {
    const ACTION: Action = Action::ListVaults;
    const EFFECT: Effect = Effect::Read;
    type Engine = Vault;
    type Output = Page<VaultEntry, Label>;

    fn resource(&self) -> Resource {
        Resource::Everything
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<Self::Output> {
        let limit = u64::from(self.limit);
        let rows = repo::vaults(&engine.store, self.deleted, self.after.as_ref(), limit).await?;
        Ok(Page::all(rows, limit, |vault| vault.name.clone())
            .visible(permit, |vault| Resource::Vault(vault.name.clone())))
    }
}

/// Shows a vault.
pub struct ShowVault {
    /// Its name.
    pub name: Label,
}

impl Operation for ShowVault {
    const ACTION: Action = Action::ShowVault;
    const EFFECT: Effect = Effect::Read;
    type Engine = Vault;
    type Output = VaultEntry;

    fn resource(&self) -> Resource {
        Resource::Vault(self.name.clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<VaultEntry> {
        live(repo::show(&engine.store, &self.name).await?, &self.name, permit.now())
    }
}

/// Changes a vault; what is `None` stays.
pub struct UpdateVault {
    /// Its name.
    pub name: Label,
    /// Notes beside it, all of them.
    pub tags: Option<Tags>,
    /// For how many days what is deleted from now on can be recovered, 7 to 90; under purge protection not fewer than
    /// before.
    pub retention_days: Option<u32>,
    /// Whether nobody may remove before that what is deleted. It cannot be switched off.
    pub purge_protection: Option<bool>,
    /// The vault's revision; `Conflict` if it is another.
    pub expect: Option<u64>,
}

impl Operation for UpdateVault {
    const ACTION: Action = Action::UpdateVault;
    const EFFECT: Effect = Effect::Change;
    type Engine = Vault;
    type Output = VaultEntry;

    fn resource(&self) -> Resource {
        Resource::Vault(self.name.clone())
    }

    async fn run(self, _: &Vault, permit: &Permit) -> Result<VaultEntry> {
        let (now, change) = (permit.now(), std::sync::Arc::new(self));
        permit
            .commit(move |tx| {
                let change = change.clone();
                async move {
                    let mut entry = live(repo::locked(tx, &change.name).await?, &change.name, now)?;
                    change.make(&mut entry)?;
                    repo::update_vault(tx, &entry).await?;
                    entry.revision = entry.revision.saturating_add(1);
                    tx.note("retention_days", entry.retention_days.to_string());
                    tx.note("purge_protection", entry.purge_protection.to_string());
                    tx.touch(Topic::Secrets);
                    Ok(entry)
                }
                .boxed()
            })
            .await
    }
}

impl UpdateVault {
    fn make(&self, entry: &mut VaultEntry) -> Result<()> {
        let name = &entry.name;
        if let Some(expected) = self.expect
            && expected != entry.revision
        {
            return Err(Error::conflict(format!(
                "vault `{name}` is at revision {}, which is not what you expect: read it and decide again",
                entry.revision
            )));
        }
        if entry.purge_protection && self.purge_protection == Some(false) {
            return Err(Error::conflict(format!(
                "vault `{name}` has purge protection, which nobody can switch off"
            )));
        }
        if let Some(wanted) = self.retention_days {
            let wanted = days(wanted)?;
            if entry.purge_protection && wanted < entry.retention_days {
                return Err(Error::conflict(format!(
                    "vault `{name}` has purge protection: its retention of {} days can only grow",
                    entry.retention_days
                )));
            }
            entry.retention_days = wanted;
        }
        if let Some(tags) = &self.tags {
            entry.tags = tags.clone();
        }
        entry.purge_protection |= self.purge_protection == Some(true);
        Ok(())
    }
}

fn days(wanted: u32) -> Result<u32> {
    if DAYS.contains(&wanted) {
        return Ok(wanted);
    }
    Err(Error::invalid(format!(
        "{wanted} days are no retention: give {} to {}",
        DAYS.start(),
        DAYS.end()
    )))
}

/// There is no such vault.
pub(super) fn no_vault(name: &Label) -> Error {
    Error::not_found(format!(
        "there is no vault `{name}`: create it, or list the vaults for the right name"
    ))
}

/// A vault that is there, or why it is not.
pub(super) fn live(found: Option<VaultEntry>, name: &Label, now: Timestamp) -> Result<VaultEntry> {
    match found {
        Some(entry) => match entry.until {
            None => Ok(entry),
            Some(until) if until.is_kept(now) => Err(Error::not_found(format!(
                "vault `{name}` was deleted with all that is in it: recover it before {}",
                until.recoverable_until
            ))),
            Some(_) => Err(no_vault(name)),
        },
        None => Err(no_vault(name)),
    }
}

/// Checks within a change that a vault is there.
pub(super) async fn require_in(tx: &Tx, name: &Label, now: Timestamp) -> Result<VaultEntry> {
    live(repo::vault(tx.conn(), name).await?, name, now)
}

impl Vault {
    /// Checks that a vault is there.
    pub(super) async fn require(&self, name: &Label, now: Timestamp) -> Result<()> {
        live(repo::show(&self.store, name).await?, name, now).map(drop)
    }
}
