//! Random bytes, for those who want them from here.

use super::DATA_MAX_BYTES;
use crate::error::{Error, Result};
use crate::gate::{Effect, Operation, Permit};
use crate::id::Label;
use crate::policy::{Action, Resource};
use crate::secret::Secret;
use crate::vault::Vault;

/// Draws random bytes.
pub struct ReadRandom {
    /// The vault that the caller may use.
    pub vault: Label,
    /// How many, at most [`DATA_MAX_BYTES`].
    pub bytes: usize,
}

impl Operation for ReadRandom {
    const ACTION: Action = Action::ReadRandom;
    const EFFECT: Effect = Effect::Read;
    type Engine = Vault;
    type Output = Secret;

    fn resource(&self) -> Resource {
        Resource::Vault(self.vault.clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<Secret> {
        if !(1..=DATA_MAX_BYTES).contains(&self.bytes) {
            return Err(Error::invalid(format!(
                "{} random bytes are not drawn at once: ask for 1 to {DATA_MAX_BYTES}",
                self.bytes
            )));
        }
        engine.require(&self.vault, permit.now()).await?;
        permit.note("bytes", self.bytes.to_string());
        random(engine, self.bytes)
    }
}

pub(super) fn random(engine: &Vault, len: usize) -> Result<Secret> {
    let mut bytes = vec![0; len];
    let filled = engine.entropy.fill(&mut bytes);
    let bytes = Secret::new(bytes);
    filled.map(|()| bytes)
}
