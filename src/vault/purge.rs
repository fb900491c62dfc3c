//! Removing for good what can no longer be recovered.

use futures::FutureExt;

use super::Vault;
use super::repo;
use crate::error::Result;
use crate::gate::{Effect, Gate, Operation, Permit};
use crate::identity::Caller;
use crate::policy::{Action, Resource, system};

/// How many secrets, with all their versions, are removed at a time, so that nobody waits long for the writer.
const BATCH: u64 = 50;

/// Removes for good some secrets whose retention has ended; how many.
struct PurgeSecrets;

impl Operation for PurgeSecrets {
    const ACTION: Action = Action::PurgeExpired;
    const EFFECT: Effect = Effect::Change;
    type Engine = Vault;
    type Output = usize;

    fn resource(&self) -> Resource {
        Resource::Everything
    }

    async fn run(self, _: &Vault, permit: &Permit) -> Result<usize> {
        let now = permit.now();
        permit
            .commit(move |tx| {
                async move {
                    let ended = repo::ended(tx.conn(), now, BATCH).await?;
                    for key in &ended {
                        repo::purge(tx, key, now).await?;
                    }
                    let names: Vec<_> = ended.iter().map(|key| format!("{}/{}", key.vault, key.name)).collect();
                    tx.note("secrets", names.join(" "));
                    Ok(ended.len())
                }
                .boxed()
            })
            .await
    }
}

impl Vault {
    /// Removes for good every secret whose retention has ended, some at a time. Nobody could read or recover them since;
    /// now their sealed values are gone, too.
    ///
    /// # Errors
    /// As [`Gate::perform`].
    pub async fn sweep(&self, gate: &Gate) -> Result<()> {
        let caller = Caller::system(system::UPKEEP, gate.entropy().as_ref())?;
        while !repo::ended(self.store.read(), gate.clock().now(), 1).await?.is_empty() {
            gate.perform(&caller, self, PurgeSecrets).await?;
        }
        Ok(())
    }
}
