//! Removing for good what can no longer be recovered.

use futures::FutureExt;

use super::Vault;
use super::retention::{Kept, repo};
use crate::error::Result;
use crate::gate::{Effect, Gate, Operation, Permit};
use crate::identity::Caller;
use crate::policy::{Action, Resource, system};

/// How many objects, with all their versions, are removed at a time, so that nobody waits long for the writer.
const BATCH: u64 = 50;

/// Removes for good some objects whose retention has ended; how many.
struct PurgeDeleted(Kept);

impl Operation for PurgeDeleted {
    const ACTION: Action = Action::PurgeExpired;
    const EFFECT: Effect = Effect::Change;
    type Engine = Vault;
    type Output = usize;

    fn resource(&self) -> Resource {
        Resource::Everything
    }

    async fn run(self, _: &Vault, permit: &Permit) -> Result<usize> {
        let (kept, now) = (self.0, permit.now());
        permit
            .commit(move |tx| {
                async move {
                    let ended = repo::ended(tx.conn(), kept, now, BATCH).await?;
                    for key in &ended {
                        repo::purge(tx, kept, key, now).await?;
                    }
                    let names: Vec<_> = ended.iter().map(|key| format!("{}/{}", key.vault, key.name)).collect();
                    tx.note(kept.nouns(), names.join(" "));
                    Ok(ended.len())
                }
                .boxed()
            })
            .await
    }
}

impl Vault {
    /// Removes for good every secret, key and vault whose retention has ended, some at a time. Nobody could use or recover them
    /// since; now what was sealed is gone, too. Destroys the
    /// values whose time has come. Wipes opened keys that nobody used for a while.
    ///
    /// # Errors
    /// As [`Gate::perform`].
    pub async fn sweep(&self, gate: &Gate) -> Result<()> {
        let caller = Caller::system(system::UPKEEP, gate.entropy().as_ref())?;
        for kept in Kept::ALL {
            while !repo::ended(self.store.read(), kept, gate.clock().now(), 1)
                .await?
                .is_empty()
            {
                gate.perform(&caller, self, PurgeDeleted(kept)).await?;
            }
        }
        self.destroy_due(gate, &caller).await?;
        self.purge_vaults(gate, &caller).await?;
        self.keys.wipe_idle();
        Ok(())
    }
}
