//! Encrypting, decrypting, both at once, and data keys.

use super::DATA_MAX_BYTES;
use super::algorithm::CipherAlgorithm;
use super::cipher::{Beside, Ciphertext};
use super::envelope::{self, EncryptionContext};
use super::kind::KeyOp;
use super::random::random;
use super::version::Made;
use crate::error::{Error, Result};
use crate::gate::{Effect, Operation, Permit};
use crate::id::{Label, ObjectName};
use crate::policy::{Action, Resource};
use crate::secret::Secret;
use crate::vault::Vault;
use crate::vault::cache::Key;
use crate::vault::version::VersionRef;

/// The longest data key, in bytes.
const DATA_KEY_MAX_BYTES: usize = 1024;

/// Encrypts with a key.
pub struct EncryptData {
    /// Its vault.
    pub vault: Label,
    /// Its name.
    pub name: ObjectName,
    /// Which version.
    pub version: VersionRef,
    /// How; `ENVELOPE` or `RSA-OAEP-256` if nothing is said.
    pub algorithm: Option<CipherAlgorithm>,
    /// What, at most [`DATA_MAX_BYTES`].
    pub plaintext: Secret,
    /// Authenticated beside it, not encrypted.
    pub aad: Vec<u8>,
    /// Authenticated beside it, not encrypted; for `ENVELOPE`.
    pub context: EncryptionContext,
}

/// What was encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encrypted {
    /// By which version.
    pub made: Made,
    /// How.
    pub algorithm: CipherAlgorithm,
    /// The ciphertext and what belongs to it.
    pub ciphertext: Ciphertext,
}

impl Operation for EncryptData {
    const ACTION: Action = Action::EncryptData;
    const EFFECT: Effect = Effect::Read;
    type Engine = Vault;
    type Output = Encrypted;

    fn resource(&self) -> Resource {
        Resource::key(self.vault.clone(), self.name.clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<Encrypted> {
        let key = Key {
            vault: self.vault,
            name: self.name,
        };
        let beside = Beside {
            aad: self.aad,
            context: self.context,
        };
        engine
            .encrypt(&key, self.version, self.algorithm, self.plaintext, beside, permit)
            .await
    }
}

/// Decrypts with a key.
pub struct DecryptData {
    /// Its vault.
    pub vault: Label,
    /// Its name.
    pub name: ObjectName,
    /// Which version; an envelope says it itself.
    pub version: VersionRef,
    /// How; `ENVELOPE` or `RSA-OAEP-256` if nothing is said.
    pub algorithm: Option<CipherAlgorithm>,
    /// The ciphertext and what belongs to it.
    pub ciphertext: Ciphertext,
    /// As it was given to encrypt.
    pub aad: Vec<u8>,
    /// As it was given to encrypt.
    pub context: EncryptionContext,
}

/// What was decrypted.
pub struct Decrypted {
    /// By which version.
    pub made: Made,
    /// How.
    pub algorithm: CipherAlgorithm,
    /// The plaintext.
    pub plaintext: Secret,
}

impl Operation for DecryptData {
    const ACTION: Action = Action::DecryptData;
    const EFFECT: Effect = Effect::Read;
    type Engine = Vault;
    type Output = Decrypted;

    fn resource(&self) -> Resource {
        Resource::key(self.vault.clone(), self.name.clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<Decrypted> {
        let key = Key {
            vault: self.vault,
            name: self.name,
        };
        let beside = Beside {
            aad: self.aad,
            context: self.context,
        };
        engine
            .decrypt(&key, self.version, self.algorithm, self.ciphertext, beside, permit)
            .await
    }
}

/// Decrypts, and encrypts again with the current version of the same key or of another one in the vault. The plaintext
/// stays here.
pub struct ReencryptData {
    /// The vault.
    pub vault: Label,
    /// The key that decrypts.
    pub name: ObjectName,
    /// Which of its versions; an envelope says it itself.
    pub version: VersionRef,
    /// How it was encrypted; as in [`DecryptData`].
    pub algorithm: Option<CipherAlgorithm>,
    /// The ciphertext and what belongs to it.
    pub ciphertext: Ciphertext,
    /// As it was given to encrypt.
    pub aad: Vec<u8>,
    /// As it was given to encrypt.
    pub context: EncryptionContext,
    /// The key that encrypts; the caller must be allowed to do this with it, too.
    pub to: ObjectName,
    /// How it is encrypted; as in [`EncryptData`].
    pub to_algorithm: Option<CipherAlgorithm>,
    /// What is authenticated then.
    pub to_aad: Vec<u8>,
    /// What is authenticated then.
    pub to_context: EncryptionContext,
}

/// What was encrypted again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reencrypted {
    /// By which version it was decrypted.
    pub from: Made,
    /// What it is now.
    pub encrypted: Encrypted,
}

impl Operation for ReencryptData {
    const ACTION: Action = Action::ReencryptData;
    const EFFECT: Effect = Effect::Read;
    type Engine = Vault;
    type Output = Reencrypted;

    fn resource(&self) -> Resource {
        Resource::key(self.vault.clone(), self.name.clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<Reencrypted> {
        let to = Resource::key(self.vault.clone(), self.to.clone());
        if !permit.allows(&to) {
            return Err(Error::denied(format!(
                "you may not {} on `{to}`: ask an administrator for a role that allows it there",
                Self::ACTION
            )));
        }
        let (from, to) = (
            Key {
                vault: self.vault.clone(),
                name: self.name,
            },
            Key {
                vault: self.vault,
                name: self.to,
            },
        );
        let (before, after) = (
            Beside {
                aad: self.aad,
                context: self.context,
            },
            Beside {
                aad: self.to_aad,
                context: self.to_context,
            },
        );
        let decrypted = engine
            .decrypt(&from, self.version, self.algorithm, self.ciphertext, before, permit)
            .await?;
        permit.note("from_version", decrypted.made.ordinal.to_string());
        permit.note("to", to.name.as_str());
        let current = VersionRef::Current;
        let encrypted = engine
            .encrypt(&to, current, self.to_algorithm, decrypted.plaintext, after, permit)
            .await?;
        Ok(Reencrypted {
            from: decrypted.made,
            encrypted,
        })
    }
}

/// Makes a data key: random bytes, encrypted with a key. [`DecryptData`] gives them back.
pub struct CreateDataKey {
    /// The vault of the key that encrypts.
    pub vault: Label,
    /// Its name.
    pub name: ObjectName,
    /// Its length in bytes, 1 to 1024.
    pub bytes: usize,
    /// Authenticated beside it.
    pub aad: Vec<u8>,
    /// Authenticated beside it; for AES keys.
    pub context: EncryptionContext,
    /// Whether the bytes are given in the clear, too.
    pub plaintext: bool,
}

/// A data key.
pub struct DataKey {
    /// The bytes, encrypted.
    pub encrypted: Encrypted,
    /// The bytes, if they were asked for.
    pub plaintext: Option<Secret>,
}

impl Operation for CreateDataKey {
    const ACTION: Action = Action::CreateDataKey;
    const EFFECT: Effect = Effect::Read;
    type Engine = Vault;
    type Output = DataKey;

    fn resource(&self) -> Resource {
        Resource::key(self.vault.clone(), self.name.clone())
    }

    async fn run(self, engine: &Vault, permit: &Permit) -> Result<DataKey> {
        if !(1..=DATA_KEY_MAX_BYTES).contains(&self.bytes) {
            return Err(Error::invalid(format!(
                "a data key of {} bytes is not made: ask for 1 to {DATA_KEY_MAX_BYTES}",
                self.bytes
            )));
        }
        let key = Key {
            vault: self.vault,
            name: self.name,
        };
        let beside = Beside {
            aad: self.aad,
            context: self.context,
        };
        let bytes = random(engine, self.bytes)?;
        let plaintext = self.plaintext.then(|| bytes.clone());
        permit.note("plaintext", self.plaintext.to_string());
        let encrypted = engine
            .encrypt(&key, VersionRef::Current, None, bytes, beside, permit)
            .await?;
        Ok(DataKey { encrypted, plaintext })
    }
}

impl Vault {
    async fn encrypt(
        &self,
        key: &Key,
        version: VersionRef,
        asked: Option<CipherAlgorithm>,
        plaintext: Secret,
        beside: Beside,
        permit: &Permit,
    ) -> Result<Encrypted> {
        if plaintext.len() > DATA_MAX_BYTES {
            return Err(Error::invalid(format!(
                "the plaintext has {} bytes: give at most {DATA_MAX_BYTES}, or encrypt it under a data key",
                plaintext.len()
            )));
        }
        let hot = self.hot_key(key, permit).await?;
        let used = self.use_key(key, &hot, version, KeyOp::Encrypt, permit).await?;
        let algorithm = CipherAlgorithm::choose(asked, used.version().kind)?;
        permit.note("algorithm", algorithm.as_str());
        let ciphertext = used.encrypt(self, algorithm, plaintext, beside).await?;
        Ok(Encrypted {
            made: used.version().made(),
            algorithm,
            ciphertext,
        })
    }

    async fn decrypt(
        &self,
        key: &Key,
        asked_version: VersionRef,
        asked: Option<CipherAlgorithm>,
        ciphertext: Ciphertext,
        beside: Beside,
        permit: &Permit,
    ) -> Result<Decrypted> {
        let hot = self.hot_key(key, permit).await?;
        let algorithm = CipherAlgorithm::choose(asked, hot.current.version.kind)?;
        permit.note("algorithm", algorithm.as_str());
        let version = match algorithm {
            CipherAlgorithm::Envelope => {
                let maker = envelope::split(&ciphertext.bytes)?.maker;
                if maker.key != hot.id {
                    return Err(Error::invalid(format!(
                        "the ciphertext was not made by key `{}` of vault `{}`: name the key that made it",
                        key.name, key.vault
                    )));
                }
                VersionRef::Id(maker.version)
            }
            _ => asked_version,
        };
        let used = self.use_key(key, &hot, version, KeyOp::Decrypt, permit).await?;
        if asked_version != VersionRef::Current && !used.version().is(asked_version) {
            return Err(Error::invalid(format!(
                "the ciphertext was made by version {}, not by `{asked_version}`: leave the version out",
                used.version().ordinal
            )));
        }
        let algorithm = CipherAlgorithm::choose(Some(algorithm), used.version().kind)?;
        let plaintext = used.decrypt(self, algorithm, ciphertext, beside).await?;
        Ok(Decrypted {
            made: used.version().made(),
            algorithm,
            plaintext,
        })
    }
}
