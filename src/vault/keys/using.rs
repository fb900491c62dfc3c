//! From a name to an opened key: the hot path.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::kind::KeyOp;
use super::material::Material;
use super::repo::{self, Found};
use super::version::KeyVersion;
use super::{binding, domain};
use crate::error::{Error, Result};
use crate::gate::Permit;
use crate::id::Id;
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

    /// Uses it, beside the threads that answer requests if that takes long.
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
        let row = if hot.current.version.is_current_met_by(wanted) {
            hot.current.clone()
        } else {
            self.older(key, hot, wanted, permit).await?
        };
        permit.note("version", row.version.ordinal.to_string());
        row.version.check(key, op, permit.now())?;
        Ok(InUse {
            key: hot.id,
            material: self.material(&row).await?,
            row,
        })
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
        match fate {
            Fate::Deleted(deleted) => deleted.not_found(Kept::Key, &key.vault, permit.now()),
            Fate::Live | Fate::Nothing => match self.require(&key.vault).await {
                Ok(()) => absent(Kept::Key, &key.vault, &key.name),
                Err(error) => error,
            },
        }
    }

    async fn material(&self, row: &Sealed) -> Result<Arc<Material>> {
        let mut place = Vec::with_capacity(row.domain.len() + row.binding.len());
        place.extend(row.domain.as_bytes());
        place.extend(&row.binding);
        if let Some(material) = self.keys.opened.get(&place) {
            return Ok(material);
        }
        let private = self.sealer.open(&row.domain, &row.binding, &row.sealed).await?;
        let material = Arc::new(Material::open(row.version.kind, private)?);
        self.keys.opened.insert(place, material.clone());
        Ok(material)
    }
}
