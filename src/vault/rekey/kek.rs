//! A new generation of the KEK: requested, its key made in the token, every data key wrapped anew by it.

use futures::FutureExt;

use super::LEASE;
use crate::custody;
use crate::error::{Error, Kind, Result};
use crate::fault;
use crate::gate::{Effect, Gate, Operation, Permit};
use crate::identity::Caller;
use crate::policy::{Action, Resource, system};
use crate::seal::{Kek, KekStage, WrappedKey};
use crate::vault::Vault;

/// The lease under which a node rotates the KEK.
const ROTATION: &str = "rekey/kek";

/// Lists the generations of the KEK, oldest first.
pub struct ListKeks;

impl Operation for ListKeks {
    const ACTION: Action = Action::ListKeks;
    const EFFECT: Effect = Effect::Read;
    type Engine = Vault;
    type Output = Vec<Kek>;

    fn resource(&self) -> Resource {
        Resource::Everything
    }

    async fn run(self, engine: &Vault, _: &Permit) -> Result<Vec<Kek>> {
        engine.sealer.keks().await
    }
}

/// Asks for a new generation of the KEK. The service takes the steps by itself.
pub struct RotateKek;

impl Operation for RotateKek {
    const ACTION: Action = Action::RotateKek;
    const EFFECT: Effect = Effect::Change;
    type Engine = Vault;
    /// The new generation.
    type Output = u32;

    fn resource(&self) -> Resource {
        Resource::Everything
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<u32> {
        let (_, next) = engine.sealer.next_kek().await?;
        custody::check_known(&engine.store, &engine.rekey.hsm, &next.label).await?;
        let (sealer, woken, now) = (engine.sealer.clone(), engine.rekey.woken.clone(), permit.now());
        // CRASH: before the commit nothing has begun; after it every step is upkeep's, of whichever node.
        fault::point("kek.request.before");
        let generation = permit
            .commit(move |tx| {
                let (sealer, woken) = (sealer.clone(), woken.clone());
                async move {
                    let generation = sealer.request_kek(tx, now).await?;
                    tx.note("kek", sealer.kek_of(generation).label);
                    tx.on_commit(move || woken.notify_one());
                    Ok(generation)
                }
                .boxed()
            })
            .await?;
        fault::point("kek.request.after");
        Ok(generation)
    }
}

/// Makes the key of a requested generation, which wraps from then on.
struct PrepareKek(u32);

impl Operation for PrepareKek {
    const ACTION: Action = Action::RotateKek;
    const EFFECT: Effect = Effect::Act;
    type Engine = Vault;
    type Output = ();

    fn resource(&self) -> Resource {
        Resource::Everything
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<()> {
        let (generation, now) = (self.0, permit.now());
        let key = engine.sealer.kek_of(generation);
        permit.note("kek", key.label.clone());
        permit.note("stage", KekStage::Active.as_str());
        permit.intend(|_| async { Ok(()) }.boxed()).await?;
        // CRASH: the register knows the key from before it is made, so that the next try goes on with the same one.
        custody::ensure(
            &engine.store,
            &engine.rekey.hsm,
            &key.label,
            key.kind,
            &*engine.rekey.clock,
        )
        .await?;
        let sealer = engine.sealer.clone();
        fault::point("kek.activate.before");
        permit
            .commit(move |tx| {
                let sealer = sealer.clone();
                async move { sealer.activate_kek(tx, generation, now).await }.boxed()
            })
            .await?;
        fault::point("kek.activate.after");
        Ok(())
    }
}

/// Wraps one data key by the active KEK.
struct WrapAnew<'k>(&'k WrappedKey);

impl Operation for WrapAnew<'_> {
    const ACTION: Action = Action::RotateKek;
    const EFFECT: Effect = Effect::Change;
    type Engine = Vault;
    type Output = ();

    fn resource(&self) -> Resource {
        Resource::Everything
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<()> {
        let key = self.0;
        permit.note("data_key", key.id().to_string());
        permit.note("domain", key.domain());
        permit.note("from", key.kek());
        let anew = engine.sealer.wrap_anew(key).await?;
        permit.note("kek", anew.kek());
        // CRASH: before the commit the row has the key as the former KEK wrapped it, after it as the active one did.
        fault::point("kek.wrap.before");
        permit
            .commit(move |tx| {
                let anew = anew.clone();
                async move { anew.store(tx).await }.boxed()
            })
            .await?;
        fault::point("kek.wrap.after");
        Ok(())
    }
}

/// Ends a former generation: nothing is opened by it any more, and whoever keeps the token may take its key out.
pub struct RetireKek {
    /// Which one.
    pub generation: u32,
}

impl Operation for RetireKek {
    const ACTION: Action = Action::RotateKek;
    const EFFECT: Effect = Effect::Change;
    type Engine = Vault;
    type Output = ();

    fn resource(&self) -> Resource {
        Resource::Everything
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<()> {
        let (generation, now) = (self.generation, permit.now());
        permit.note("kek", engine.sealer.kek_of(generation).label);
        permit.note("stage", KekStage::Retired.as_str());
        let sealer = engine.sealer.clone();
        permit
            .commit(move |tx| {
                let sealer = sealer.clone();
                async move { sealer.retire_kek(tx, generation, now).await }.boxed()
            })
            .await
    }
}

/// Takes a generation of the KEK that only the token knows for the next one, because its configuration says so.
pub struct AdoptKek {
    /// Its label in the token.
    pub label: String,
}

impl Operation for AdoptKek {
    const ACTION: Action = Action::RotateKek;
    const EFFECT: Effect = Effect::Act;
    type Engine = Vault;
    type Output = ();

    fn resource(&self) -> Resource {
        Resource::Everything
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<()> {
        permit.note("kek", self.label.clone());
        permit.note("adopted", "true");
        permit.intend(|_| async { Ok(()) }.boxed()).await?;
        let (generation, next) = engine.sealer.next_kek().await?;
        if next.label != self.label {
            return Err(Error::conflict(format!(
                "`{}` is not the next generation of the KEK, which is `{}`",
                self.label, next.label
            )));
        }
        let (sealer, now) = (engine.sealer.clone(), permit.now());
        let rekey = &engine.rekey;
        // CRASH: a key that is registered and no generation yet becomes one at the next start.
        custody::adopt(&engine.store, &rekey.hsm, &next.label, next.kind, &*rekey.clock).await?;
        permit
            .commit(move |tx| {
                let sealer = sealer.clone();
                async move {
                    sealer.request_kek(tx, now).await?;
                    sealer.activate_kek(tx, generation, now).await
                }
                .boxed()
            })
            .await
    }
}

impl Vault {
    /// Checks at the start that token and store know the same generations of the KEK. `adopt`: labels of those that the
    /// token alone knows and that are taken over, oldest first.
    ///
    /// # Errors
    /// `Unavailable` if the token does not show a generation that the store knows; `Conflict` if it shows another key of
    /// its label, or a generation that the store does not know. Nothing is made then.
    pub async fn check_keks(&self, gate: &Gate, adopt: &[String]) -> Result<()> {
        let hsm = &self.rekey.hsm;
        for kek in self.sealer.keks().await? {
            if kek.stage.opens() && kek.generation > 1 {
                let key = self.sealer.kek_of(kek.generation);
                custody::require(&self.store, hsm, &key.label, key.kind).await?;
            }
        }
        loop {
            let (_, next) = self.sealer.next_kek().await?;
            let known = custody::check_known(&self.store, hsm, &next.label).await;
            if let Err(error) = &known
                && error.kind() != Kind::Conflict
            {
                return known;
            }
            if adopt.contains(&next.label) && (known.is_err() || self.is_half_adopted(&next.label).await?) {
                self.adopt(gate, next.label).await?;
                continue;
            }
            return known.map_err(|_| {
                Error::conflict(format!(
                    "the token holds `{label}`, a later generation of the KEK than this store knows: the store is older \
                     than the token. Start with the newer store; only if that is lost, say `adopt_keks = [\"{label}\"]` \
                     under `[vault]`",
                    label = next.label
                ))
            });
        }
    }

    /// Whether the register has the key, and nobody asked for a generation of it.
    async fn is_half_adopted(&self, label: &str) -> Result<bool> {
        let registered = custody::registered(&self.store, label).await?.is_some();
        Ok(registered && !self.sealer.keks().await?.iter().any(|kek| kek.label == label))
    }

    async fn adopt(&self, gate: &Gate, label: String) -> Result<()> {
        let caller = Caller::system(system::UPKEEP, gate.entropy().as_ref())?;
        gate.perform(&caller, self, AdoptKek { label }).await
    }

    /// Takes every step of a rotation of the KEK that was asked for.
    pub(super) async fn rotate_kek(&self, gate: &Gate, caller: &Caller) -> Result<()> {
        let newest = self.sealer.keks().await?.pop();
        let requested = newest.filter(|kek| kek.stage == KekStage::Requested);
        let mut left = self.sealer.wrapped_by_former().await?;
        if requested.is_none() && left.is_empty() {
            return Ok(());
        }
        if !self.store.lease(ROTATION, LEASE, gate.clock().now()).await? {
            return Ok(());
        }
        if let Some(kek) = requested {
            gate.perform(caller, self, PrepareKek(kek.generation)).await?;
            left = self.sealer.wrapped_by_former().await?;
        }
        let mut failed = None;
        for key in &left {
            self.store.lease(ROTATION, LEASE, gate.clock().now()).await?;
            // One that does not open keeps nobody else from the new one.
            if let Err(error) = gate.perform(caller, self, WrapAnew(key)).await {
                failed = Some(error);
            }
        }
        self.store.release(ROTATION).await?;
        failed.map_or(Ok(()), Err)
    }
}
