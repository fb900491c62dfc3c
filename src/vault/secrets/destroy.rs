//! Destroying the value of one version, now or later.

use std::time::Duration;

use futures::FutureExt;

use super::change::repo;
use super::label::WhichVersion;
use super::version::Described;
use crate::error::{Error, Result};
use crate::gate::{Effect, Gate, Operation, Permit};
use crate::id::{Label, ObjectName};
use crate::identity::Caller;
use crate::policy::{Action, Resource};
use crate::store::Topic;
use crate::vault::Vault;
use crate::vault::cache::Key;

/// The longest delay.
const DELAY_MOST: Duration = Duration::from_secs(366 * 86_400);
/// How many values are destroyed at a time: nobody waits long for the writer, and the longest names fit one record.
const BATCH: u64 = 100;

/// Destroys the value of a version for good, at once or after a delay in which nobody reads it and it can be recovered.
/// What is known about the version stays.
pub struct DestroySecretVersion {
    /// Its vault.
    pub vault: Label,
    /// Its name.
    pub name: ObjectName,
    /// Which version.
    pub version: WhichVersion,
    /// How long it can be recovered; not at all with zero.
    pub delay: Duration,
}

impl Operation for DestroySecretVersion {
    const ACTION: Action = Action::DestroySecretVersion;
    const EFFECT: Effect = Effect::Change;
    type Engine = Vault;
    type Output = Described;

    fn resource(&self) -> Resource {
        Resource::secret(self.vault.clone(), self.name.clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<Described> {
        if self.delay > DELAY_MOST {
            return Err(Error::invalid(format!(
                "a value cannot be destroyed only after {} days: give at most {}",
                self.delay.as_secs() / 86_400,
                DELAY_MOST.as_secs() / 86_400
            )));
        }
        let key = Key {
            vault: self.vault,
            name: self.name,
        };
        let delay = self.delay;
        engine
            .change_secret(permit, key, self.version, None, move |tx, secret| {
                async move {
                    let (now, version) = (secret.now, &mut secret.found.version);
                    version.check_kept(&secret.key, now)?;
                    if delay.is_zero() {
                        version.destroy = None;
                        version.destroyed = Some(now);
                        repo::destroy(tx, &version.id.to_string(), now).await
                    } else {
                        let at = now + delay;
                        tx.note("destroy_at", at.to_string());
                        version.destroy = Some(at);
                        repo::schedule(tx, &version.id, version.destroy).await
                    }
                }
                .boxed()
            })
            .await
    }
}

/// Takes it back that a version's value is to be destroyed.
pub struct RecoverSecretVersion {
    /// Its vault.
    pub vault: Label,
    /// Its name.
    pub name: ObjectName,
    /// Which version.
    pub version: WhichVersion,
}

impl Operation for RecoverSecretVersion {
    const ACTION: Action = Action::RecoverSecretVersion;
    const EFFECT: Effect = Effect::Change;
    type Engine = Vault;
    type Output = Described;

    fn resource(&self) -> Resource {
        Resource::secret(self.vault.clone(), self.name.clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<Described> {
        let key = Key {
            vault: self.vault,
            name: self.name,
        };
        engine
            .change_secret(permit, key, self.version, None, move |tx, secret| {
                async move {
                    let version = &mut secret.found.version;
                    version.check_kept(&secret.key, secret.now)?;
                    if version.destroy.take().is_none() {
                        return Err(Error::conflict(format!(
                            "version {} of secret `{}` of vault `{}` is not to be destroyed: there is nothing to recover",
                            version.ordinal, secret.key.name, secret.key.vault
                        )));
                    }
                    repo::schedule(tx, &version.id, None).await
                }
                .boxed()
            })
            .await
    }
}

/// Destroys some values whose time has come; how many.
struct DestroyDue;

impl Operation for DestroyDue {
    const ACTION: Action = Action::PurgeExpired;
    const EFFECT: Effect = Effect::Change;
    type Engine = Vault;
    type Output = ();

    fn resource(&self) -> Resource {
        Resource::Everything
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<()> {
        let (now, cache) = (permit.now(), engine.secrets.clone());
        permit
            .commit(move |tx| {
                let cache = cache.clone();
                async move {
                    let due = repo::due(tx.conn(), now, BATCH).await?;
                    for version in &due {
                        repo::destroy(tx, &version.id, now).await?;
                    }
                    let name = |due: &repo::Due| format!("{}/{}/{}", due.key.vault, due.key.name, due.ordinal);
                    tx.note("versions", due.iter().map(name).collect::<Vec<_>>().join(" "));
                    tx.touch(Topic::Secrets);
                    tx.on_commit(move || due.iter().for_each(|due| cache.changed(&due.key)));
                    Ok(())
                }
                .boxed()
            })
            .await
    }
}

impl Vault {
    /// Destroys every value whose time has come, some at a time.
    pub(in crate::vault) async fn destroy_due(&self, gate: &Gate, caller: &Caller) -> Result<()> {
        while repo::is_any_due(&self.store, gate.clock().now()).await? {
            gate.perform(caller, self, DestroyDue).await?;
        }
        Ok(())
    }
}
