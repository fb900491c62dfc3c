//! Signing, and verifying what was signed.

use super::DATA_MAX_BYTES;
use super::algorithm::SignAlgorithm;
use super::kind::KeyOp;
use super::sign::{SignatureFormat, ToSign};
use super::version::Made;
use crate::error::{Error, Result};
use crate::gate::{Effect, Operation, Permit};
use crate::id::{Label, ObjectName};
use crate::policy::{Action, Resource};
use crate::vault::Vault;
use crate::vault::cache::Key;
use crate::vault::version::VersionRef;

/// Signs with a key.
pub struct SignData {
    /// Its vault.
    pub vault: Label,
    /// Its name.
    pub name: ObjectName,
    /// Which version.
    pub version: VersionRef,
    /// How; the kind's own algorithm if nothing is said.
    pub algorithm: Option<SignAlgorithm>,
    /// What, at most [`DATA_MAX_BYTES`].
    pub what: ToSign,
    /// How the signature is written.
    pub format: SignatureFormat,
}

/// A signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// By which version.
    pub made: Made,
    /// How.
    pub algorithm: SignAlgorithm,
    /// The signature.
    pub signature: Vec<u8>,
}

impl Operation for SignData {
    const ACTION: Action = Action::SignData;
    const EFFECT: Effect = Effect::Read;
    type Engine = Vault;
    type Output = Signed;

    fn resource(&self) -> Resource {
        Resource::key(self.vault.clone(), self.name.clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<Signed> {
        bounded(&self.what)?;
        let key = Key {
            vault: self.vault,
            name: self.name,
        };
        let hot = engine.hot_key(&key, permit).await?;
        let used = engine.use_key(&key, &hot, self.version, KeyOp::Sign, permit).await?;
        let algorithm = SignAlgorithm::choose(self.algorithm, used.version().kind)?;
        permit.note("algorithm", algorithm.as_str());
        let signature = used.sign(engine, algorithm, self.what, self.format).await?;
        Ok(Signed {
            made: used.version().made(),
            algorithm,
            signature,
        })
    }
}

/// Verifies a signature with a key.
pub struct VerifySignature {
    /// Its vault.
    pub vault: Label,
    /// Its name.
    pub name: ObjectName,
    /// Which version.
    pub version: VersionRef,
    /// How; the kind's own algorithm if nothing is said.
    pub algorithm: Option<SignAlgorithm>,
    /// Of what, at most [`DATA_MAX_BYTES`].
    pub what: ToSign,
    /// The signature.
    pub signature: Vec<u8>,
    /// How the signature is written.
    pub format: SignatureFormat,
}

/// Whether a signature is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// By which version.
    pub made: Made,
    /// How.
    pub algorithm: SignAlgorithm,
    /// Whether it is.
    pub valid: bool,
}

impl Operation for VerifySignature {
    const ACTION: Action = Action::VerifySignature;
    const EFFECT: Effect = Effect::Read;
    type Engine = Vault;
    type Output = Verdict;

    fn resource(&self) -> Resource {
        Resource::key(self.vault.clone(), self.name.clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<Verdict> {
        bounded(&self.what)?;
        let key = Key {
            vault: self.vault,
            name: self.name,
        };
        let hot = engine.hot_key(&key, permit).await?;
        let used = engine.use_key(&key, &hot, self.version, KeyOp::Verify, permit).await?;
        let algorithm = SignAlgorithm::choose(self.algorithm, used.version().kind)?;
        permit.note("algorithm", algorithm.as_str());
        let valid = used
            .verify(engine, algorithm, self.what, self.signature, self.format)
            .await?;
        permit.note("valid", valid.to_string());
        Ok(Verdict {
            made: used.version().made(),
            algorithm,
            valid,
        })
    }
}

fn bounded(what: &ToSign) -> Result<()> {
    let (ToSign::Digest(bytes) | ToSign::Message(bytes)) = what;
    if bytes.len() > DATA_MAX_BYTES {
        return Err(Error::invalid(format!(
            "the message has {} bytes: give at most {DATA_MAX_BYTES}, or its digest",
            bytes.len()
        )));
    }
    Ok(())
}
