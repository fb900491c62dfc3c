//! From a name to an opened key: the hot path.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::algorithm::{CipherAlgorithm, SignAlgorithm, WrapAlgorithm};
use super::cipher::{self, Beside, Ciphertext};
use super::envelope::Maker;
use super::kind::{KeyOp, KeyProtection};
use super::material::Material;
use super::peer::Peer;
use super::repo::{self, Found};
use super::sign::{self, SignatureFormat, ToSign};
use super::version::KeyVersion;
use super::{binding, domain};
use crate::error::{Error, Result};
use crate::gate::Permit;
use crate::id::Id;
use crate::seal::Sealer;
use crate::secret::Secret;
use crate::store::Topic;
use crate::vault::Vault;
use crate::vault::cache::{Key, Row};
use crate::vault::retention::repo::Fate;
use crate::vault::retention::{Kept, absent, no_version};
use crate::vault::version::VersionRef;

/// How many older versions of a key are kept beside the current one.
const OLDER_MOST: usize = 8;

/// A version's row, sealed, with what it takes to open it.
pub(super) struct Sealed {
    pub(super) version: KeyVersion,
    domain: String,
    binding: Vec<u8>,
    sealed: Vec<u8>,
}

impl Sealed {
    pub(super) fn new(key: &Key, version: KeyVersion, sealed: Vec<u8>) -> Self {
        Self {
            domain: domain(&key.vault),
            binding: binding(key, &version),
            version,
            sealed,
        }
    }

    /// The private half as it is sealed: of a key in the token, it as the token wrapped it.
    pub(super) async fn open(&self, sealer: &Sealer) -> Result<Secret> {
        sealer.open(&self.domain, &self.binding, &self.sealed).await
    }
}

/// A key as it is cached: dropped as a whole with any change of it.
pub(in crate::vault) struct Hot {
    pub(super) id: Id,
    pub(super) current: Arc<Sealed>,
    older: Mutex<HashMap<VersionRef, Arc<Sealed>>>,
}

impl Row for Hot {
    fn bytes(&self) -> usize {
        // As if every older version that may come were there.
        (self.current.sealed.len() + 512) * (OLDER_MOST + 1)
    }
}

/// An opened version, checked for one use.
pub(super) struct InUse {
    pub(super) key: Id,
    pub(super) row: Arc<Sealed>,
    material: Arc<Material>,
}

impl InUse {
    pub(super) fn version(&self) -> &KeyVersion {
        &self.row.version
    }

    pub(super) async fn encrypt(
        &self,
        engine: &Vault,
        algorithm: CipherAlgorithm,
        plaintext: Secret,
        beside: Beside,
    ) -> Result<Ciphertext> {
        let maker = Maker {
            key: self.key,
            version: self.version().id,
        };
        match &*self.material {
            Material::InToken(key) if algorithm.oaep().is_none() => {
                key.encrypt(algorithm, maker, &*engine.entropy, plaintext, &beside)
                    .await
            }
            _ => {
                let entropy = engine.entropy.clone();
                self.run(engine, move |material| {
                    cipher::encrypt(material, algorithm, maker, &*entropy, plaintext.expose(), &beside)
                })
                .await
            }
        }
    }

    pub(super) async fn decrypt(
        &self,
        engine: &Vault,
        algorithm: CipherAlgorithm,
        ciphertext: Ciphertext,
        beside: Beside,
    ) -> Result<Secret> {
        match &*self.material {
            Material::InToken(key) => key.decrypt(algorithm, &ciphertext, &beside).await,
            _ => {
                self.run(engine, move |material| {
                    cipher::decrypt(material, algorithm, &ciphertext, &beside)
                })
                .await
            }
        }
    }

    pub(super) async fn wrap(&self, engine: &Vault, algorithm: WrapAlgorithm, key: Secret) -> Result<Vec<u8>> {
        match &*self.material {
            Material::InToken(by) if algorithm.oaep().is_none() => by.wrap(algorithm, key).await,
            _ => {
                self.run(engine, move |material| cipher::wrap(material, algorithm, key.expose()))
                    .await
            }
        }
    }

    pub(super) async fn unwrap(&self, engine: &Vault, algorithm: WrapAlgorithm, wrapped: Vec<u8>) -> Result<Secret> {
        match &*self.material {
            Material::InToken(by) => by.unwrap(algorithm, wrapped).await,
            _ => {
                self.run(engine, move |material| cipher::unwrap(material, algorithm, &wrapped))
                    .await
            }
        }
    }

    pub(super) async fn sign(
        &self,
        engine: &Vault,
        algorithm: SignAlgorithm,
        what: ToSign,
        format: SignatureFormat,
    ) -> Result<Vec<u8>> {
        let kind = self.version().kind;
        match &*self.material {
            Material::InToken(key) => key.sign(kind, algorithm, &what, format).await,
            _ => {
                self.run(engine, move |material| {
                    sign::sign(material, kind, algorithm, &what, format)
                })
                .await
            }
        }
    }

    pub(super) async fn verify(
        &self,
        engine: &Vault,
        algorithm: SignAlgorithm,
        what: ToSign,
        signature: Vec<u8>,
        format: SignatureFormat,
    ) -> Result<bool> {
        let kind = self.version().kind;
        match &*self.material {
            Material::InToken(key) if kind.is_mac() => key.verify_mac(kind, algorithm, &what, &signature).await,
            _ => {
                self.run(engine, move |material| {
                    sign::verify(material, kind, algorithm, &what, &signature, format)
                })
                .await
            }
        }
    }

    /// The secret that its holder and that of `peer` have in common.
    pub(super) async fn agree(&self, engine: &Vault, peer: Peer) -> Result<Secret> {
        match &*self.material {
            Material::InToken(key) => key.agree(&peer).await,
            _ => self.run(engine, move |material| peer.agree(material)).await,
        }
    }

    /// Uses it in the process, beside the threads that answer requests if that takes long.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        engine: &Vault,
        work: impl FnOnce(&Material) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if !self.version().kind.is_slow() {
            return work(&self.material);
        }
        let material = self.material.clone();
        engine.keys.slowly(move || work(&material)).await
    }
}

impl Vault {
    /// The key, from the cache if it is there.
    pub(super) async fn hot_key(&self, key: &Key, permit: &Permit) -> Result<Arc<Hot>> {
        // INVARIANT: asked before the cache is, so that what another node acknowledged before this call is seen.
        let generation = self.store.fresh(Topic::Keys).await?;
        if let Some(hot) = self.keys.cache.get(key, generation) {
            return Ok(hot);
        }
        let ticket = self.keys.cache.ticket(key, generation);
        let (id, current) = self.load_version(key, VersionRef::Current, permit).await?;
        let hot = Arc::new(Hot {
            id,
            current: Arc::new(current),
            older: Mutex::default(),
        });
        self.keys.cache.put(&ticket, key.clone(), hot.clone());
        Ok(hot)
    }

    /// Opens a version of `hot` for one use, if its attributes allow it now.
    pub(super) async fn use_key(
        &self,
        key: &Key,
        hot: &Hot,
        wanted: VersionRef,
        op: KeyOp,
        permit: &Permit,
    ) -> Result<InUse> {
        let row = self.sealed_key(key, hot, wanted, permit).await?;
        permit.note("version", row.version.ordinal.to_string());
        row.version.check(key, op, permit.now())?;
        self.opened_key(hot, row).await
    }

    /// Opens a version of `hot` to be handed out, if it is enabled.
    pub(super) async fn hold_key(&self, key: &Key, hot: &Hot, wanted: VersionRef, permit: &Permit) -> Result<InUse> {
        let row = self.sealed_key(key, hot, wanted, permit).await?;
        permit.note("version", row.version.ordinal.to_string());
        row.version.check_enabled(key)?;
        self.opened_key(hot, row).await
    }

    async fn opened_key(&self, hot: &Hot, row: Arc<Sealed>) -> Result<InUse> {
        Ok(InUse {
            key: hot.id,
            material: self.material(&row).await?,
            row,
        })
    }

    async fn sealed_key(&self, key: &Key, hot: &Hot, wanted: VersionRef, permit: &Permit) -> Result<Arc<Sealed>> {
        if hot.current.version.is_current_met_by(wanted) {
            return Ok(hot.current.clone());
        }
        self.older(key, hot, wanted, permit).await
    }

    async fn older(&self, key: &Key, hot: &Hot, wanted: VersionRef, permit: &Permit) -> Result<Arc<Sealed>> {
        let known = |hot: &Hot| {
            hot.older
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(&wanted)
                .cloned()
        };
        if let Some(row) = known(hot) {
            return Ok(row);
        }
        let (id, row) = self.load_version(key, wanted, permit).await?;
        if id != hot.id {
            // The name went to another key meanwhile.
            return Err(absent(Kept::Key, &key.vault, &key.name));
        }
        let row = Arc::new(row);
        let mut older = hot.older.lock().unwrap_or_else(PoisonError::into_inner);
        if older.len() >= OLDER_MOST {
            older.clear();
        }
        older.insert(wanted, row.clone());
        Ok(row)
    }

    async fn load_version(&self, key: &Key, wanted: VersionRef, permit: &Permit) -> Result<(Id, Sealed)> {
        match repo::sealed(&self.store, key, wanted).await? {
            Found::Live(Some(found)) => Ok(found),
            Found::Live(None) => Err(no_version(Kept::Key, key, wanted)),
            Found::Gone(fate) => Err(self.gone(key, fate, permit).await),
        }
    }

    /// Why there is no such key.
    pub(super) async fn gone(&self, key: &Key, fate: Fate, permit: &Permit) -> Error {
        if let Err(error) = self.require(&key.vault, permit.now()).await {
            return error;
        }
        match fate {
            Fate::Deleted(deleted) => deleted.not_found(Kept::Key, &key.vault, permit.now()),
            Fate::Live | Fate::Nothing => absent(Kept::Key, &key.vault, &key.name),
        }
    }

    async fn material(&self, row: &Sealed) -> Result<Arc<Material>> {
        let mut place = Vec::with_capacity(row.domain.len() + row.binding.len());
        place.extend(row.domain.as_bytes());
        place.extend(&row.binding);
        if let Some(material) = self.keys.opened.get(&place) {
            return Ok(material);
        }
        let private = row.open(&self.sealer).await?;
        let (kind, public) = (row.version.kind, row.version.public.as_deref());
        let ops = &row.version.attributes.ops;
        let material = Arc::new(match row.version.protection {
            KeyProtection::Hsm => Material::InToken(self.keys.token.open(kind, ops, &private, public).await?),
            KeyProtection::Software => Material::open(kind, private)?,
        });
        self.keys.opened.insert(place, material.clone());
        Ok(material)
    }
}
