//! Wrapping other keys, and unwrapping them.

use super::algorithm::WrapAlgorithm;
use super::kind::KeyOp;
use super::version::Made;
use crate::error::{Error, Result};
use crate::gate::{Effect, Operation, Permit};
use crate::id::{Label, ObjectName};
use crate::policy::{Action, Resource};
use crate::secret::Secret;
use crate::vault::Vault;
use crate::vault::cache::Key;
use crate::vault::version::VersionRef;

/// The longest key that is wrapped, in bytes.
const KEY_MAX_BYTES: usize = 8192;

/// Wraps another key.
pub struct WrapKey {
    /// The vault of the key that wraps.
    pub vault: Label,
    /// Its name.
    pub name: ObjectName,
    /// Which version.
    pub version: VersionRef,
    /// How; `AES-KWP` or `RSA-OAEP-256` if nothing is said.
    pub algorithm: Option<WrapAlgorithm>,
    /// What is wrapped.
    pub key: Secret,
}

/// A wrapped key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrapped {
    /// By which version.
    pub made: Made,
    /// How.
    pub algorithm: WrapAlgorithm,
    /// The wrapped key.
    pub wrapped: Vec<u8>,
}

impl Operation for WrapKey {
    const ACTION: Action = Action::WrapKey;
    const EFFECT: Effect = Effect::Read;
    type Engine = Vault;
    type Output = Wrapped;

    fn resource(&self) -> Resource {
        Resource::key(self.vault.clone(), self.name.clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<Wrapped> {
        if self.key.len() > KEY_MAX_BYTES {
            return Err(Error::invalid(format!(
                "what is to be wrapped has {} bytes: a key has at most {KEY_MAX_BYTES}; encrypt data instead",
                self.key.len()
            )));
        }
        let key = Key {
            vault: self.vault,
            name: self.name,
        };
        let hot = engine.hot_key(&key, permit).await?;
        let used = engine.use_key(&key, &hot, self.version, KeyOp::WrapKey, permit).await?;
        let algorithm = WrapAlgorithm::choose(self.algorithm, used.version().kind)?;
        permit.note("algorithm", algorithm.as_str());
        let wrapped = used.wrap(engine, algorithm, self.key).await?;
        Ok(Wrapped {
            made: used.version().made(),
            algorithm,
            wrapped,
        })
    }
}

/// Unwraps another key.
pub struct UnwrapKey {
    /// The vault of the key that unwraps.
    pub vault: Label,
    /// Its name.
    pub name: ObjectName,
    /// Which version.
    pub version: VersionRef,
    /// How; `AES-KWP` or `RSA-OAEP-256` if nothing is said.
    pub algorithm: Option<WrapAlgorithm>,
    /// What was wrapped.
    pub wrapped: Vec<u8>,
}

/// An unwrapped key.
pub struct Unwrapped {
    /// By which version.
    pub made: Made,
    /// How.
    pub algorithm: WrapAlgorithm,
    /// The key's bytes.
    pub key: Secret,
}

impl Operation for UnwrapKey {
    const ACTION: Action = Action::UnwrapKey;
    const EFFECT: Effect = Effect::Read;
    type Engine = Vault;
    type Output = Unwrapped;

    fn resource(&self) -> Resource {
        Resource::key(self.vault.clone(), self.name.clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<Unwrapped> {
        let by = Key {
            vault: self.vault,
            name: self.name,
        };
        let hot = engine.hot_key(&by, permit).await?;
        let used = engine
            .use_key(&by, &hot, self.version, KeyOp::UnwrapKey, permit)
            .await?;
        let algorithm = WrapAlgorithm::choose(self.algorithm, used.version().kind)?;
        permit.note("algorithm", algorithm.as_str());
        let key = used.unwrap(engine, algorithm, self.wrapped).await?;
        Ok(Unwrapped {
            made: used.version().made(),
            algorithm,
            key,
        })
    }
}
