//! Agreeing on a secret with the holder of another key (ECDH, SP 800-56A §6.2.2.2 with one's own static key).

use super::kind::KeyOp;
use super::peer::Peer;
use super::version::Made;
use crate::error::Result;
use crate::gate::{Effect, Operation, Permit};
use crate::id::{Label, ObjectName};
use crate::policy::{Action, Resource};
use crate::secret::Secret;
use crate::vault::Vault;
use crate::vault::cache::Key;
use crate::vault::version::VersionRef;

/// Agrees on a secret with a key of an elliptic curve and somebody else's public key on the same curve.
pub struct DeriveSecret {
    /// Its vault.
    pub vault: Label,
    /// Its name.
    pub name: ObjectName,
    /// Which version.
    pub version: VersionRef,
    /// The other one's public key: SubjectPublicKeyInfo in PEM or DER, or a JWK; at most 8 KiB.
    pub peer: Vec<u8>,
}

/// What two have in common.
pub struct SharedSecret {
    /// By which version.
    pub made: Made,
    /// The x of the common point, as long as the curve's numbers. Not uniform: keys are derived from it.
    pub secret: Secret,
}

impl Operation for DeriveSecret {
    const ACTION: Action = Action::DeriveSecret;
    const EFFECT: Effect = Effect::Read;
    type Engine = Vault;
    type Output = SharedSecret;

    fn resource(&self) -> Resource {
        Resource::key(self.vault.clone(), self.name.clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<SharedSecret> {
        let key = Key {
            vault: self.vault,
            name: self.name,
        };
        let hot = engine.hot_key(&key, permit).await?;
        let used = engine
            .use_key(&key, &hot, self.version, KeyOp::DeriveBits, permit)
            .await?;
        permit.note("algorithm", "ECDH");
        let peer = Peer::read(used.version().kind, &self.peer)?;
        permit.note("peer", peer.digest()?);
        let secret = used.agree(engine, peer).await?;
        Ok(SharedSecret {
            made: used.version().made(),
            secret,
        })
    }
}
