//! Generations of the KEK: which one wraps now, and which ones still open.
//!
//! requested -> active -> former -> retired. The newest active one wraps every new data key and archive. A former one
//! stays in the token, since data keys that are not wrapped anew yet, archives, and backups of the store from its time
//! need it. Which generation is meant is asked of the store each time, so that every node follows a change at once.
//!
//! It must never make or delete a key of the token: what a label stands for is the register's to say.

pub(super) mod repo;

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::constant_time::verify_slices_are_equal;

use super::repo::DekRow;
use super::{Inner, Sealer, format};
use crate::clock::Timestamp;
use crate::entropy;
use crate::error::{Error, Result};
use crate::hsm::KeyRef;
use crate::id::Id;
use crate::store::Tx;

/// How far a generation of the KEK is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KekStage {
    /// Its key is about to be made.
    Requested,
    /// It wraps.
    Active,
    /// It still opens what it wrapped.
    Former,
    /// Nothing is opened by it any more; its key may be taken out of the token.
    Retired,
}

impl KekStage {
    const ALL: [Self; 4] = [Self::Requested, Self::Active, Self::Former, Self::Retired];

    /// The stage as the store and the wire know it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Active => "active",
            Self::Former => "former",
            Self::Retired => "retired",
        }
    }

    /// Whether its key must be in the token.
    pub const fn opens(self) -> bool {
        matches!(self, Self::Active | Self::Former)
    }
}

impl fmt::Display for KekStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for KekStage {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|stage| stage.as_str() == text)
            .ok_or_else(|| Error::internal("a KEK in the store has no known stage"))
    }
}

/// A generation of the KEK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kek {
    /// From 1.
    pub generation: u32,
    /// The key's label in the token.
    pub label: String,
    /// How far it is.
    pub stage: KekStage,
    /// Since when; the first one's is not known until there is a second.
    pub since: Option<Timestamp>,
    /// How many data keys it wraps.
    pub data_keys: u64,
}

/// A data key, wrapped, as the store has it.
pub struct WrappedKey {
    row: DekRow,
}

impl WrappedKey {
    /// Its id.
    pub fn id(&self) -> &Id {
        &self.row.id
    }

    /// What it seals.
    pub fn domain(&self) -> &str {
        &self.row.domain
    }

    /// The label of the KEK that wraps it.
    pub fn kek(&self) -> &str {
        &self.row.kek
    }
}

/// The same data key, wrapped by the active KEK, to be stored.
#[derive(Clone)]
pub struct WrappedAnew {
    id: Id,
    from: String,
    to: String,
    wrapped: Vec<u8>,
}

impl WrappedAnew {
    /// The label of the KEK that wraps it now.
    pub fn kek(&self) -> &str {
        &self.to
    }

    /// Puts it in the place of the one before.
    ///
    /// # Errors
    /// `Conflict` if somebody else was first; the store's.
    pub async fn store(&self, tx: &Tx) -> Result<()> {
        if repo::replace_wrapped(tx, &self.id, &self.from, &self.to, &self.wrapped).await? {
            return Ok(());
        }
        Err(Error::conflict(format!(
            "the data key {} is not wrapped by `{}` any more",
            self.id, self.from
        )))
    }
}

impl Sealer {
    /// Every generation of the KEK, oldest first.
    ///
    /// # Errors
    /// The store's.
    pub async fn keks(&self) -> Result<Vec<Kek>> {
        let mut keks = self.inner.keks().await?;
        for (label, count) in repo::wrapped_by(&self.inner.store).await? {
            if let Some(kek) = keks.iter_mut().find(|kek| kek.label == label) {
                kek.data_keys = count;
            }
        }
        Ok(keks)
    }

    /// The generation that comes next, or the one that is on its way already.
    ///
    /// # Errors
    /// The store's.
    pub async fn next_kek(&self) -> Result<(u32, KeyRef)> {
        let keks = self.inner.keks().await?;
        let generation = match keks.last() {
            Some(newest) if newest.stage == KekStage::Requested => newest.generation,
            Some(newest) => newest.generation.saturating_add(1),
            None => 1,
        };
        Ok((generation, self.kek_of(generation)))
    }

    /// How the token is asked for a generation.
    pub fn kek_of(&self, generation: u32) -> KeyRef {
        let first = &self.inner.kek;
        let label = match (generation, first.label.strip_suffix("-1")) {
            (0..=1, _) => first.label.clone(),
            (_, Some(name)) => format!("{name}-{generation}"),
            (_, None) => format!("{}-{generation}", first.label),
        };
        KeyRef {
            label,
            kind: first.kind,
        }
    }

    /// Says within a change that the next generation is to be made; which one.
    ///
    /// # Errors
    /// `Conflict` if one is on its way; the store's.
    pub async fn request_kek(&self, tx: &Tx, now: Timestamp) -> Result<u32> {
        let rows = self.written(tx, now).await?;
        let newest = rows.last().map_or(1, |row| row.generation);
        if let Some(row) = rows.iter().find(|row| row.stage == KekStage::Requested) {
            return Err(under_way(&row.label));
        }
        let generation = newest.saturating_add(1);
        let label = self.kek_of(generation).label;
        repo::insert(tx, generation, &label, KekStage::Requested, now).await?;
        Ok(generation)
    }

    /// Says within a change that a requested generation's key is in the token: it wraps from now on.
    ///
    /// # Errors
    /// `Conflict` if it is not requested; the store's.
    pub async fn activate_kek(&self, tx: &Tx, generation: u32, now: Timestamp) -> Result<()> {
        if !repo::advance(tx, generation, KekStage::Requested, KekStage::Active, now).await? {
            return Err(Error::conflict(format!(
                "generation {generation} of the KEK is not requested any more"
            )));
        }
        for row in repo::rows(tx.conn()).await? {
            if row.generation != generation && row.stage == KekStage::Active {
                repo::advance(tx, row.generation, KekStage::Active, KekStage::Former, now).await?;
            }
        }
        Ok(())
    }

    /// Says within a change that nothing is opened by a former generation any more.
    ///
    /// # Errors
    /// `NotFound` if there is no such generation; `Conflict` if it is not a former one, or wraps data keys yet; the
    /// store's.
    pub async fn retire_kek(&self, tx: &Tx, generation: u32, now: Timestamp) -> Result<()> {
        let rows = self.written(tx, now).await?;
        let row = rows.iter().find(|row| row.generation == generation).ok_or_else(|| {
            Error::not_found(format!(
                "there is no generation {generation} of the KEK: list those that there are"
            ))
        })?;
        if row.stage != KekStage::Former {
            return Err(Error::conflict(format!(
                "generation {generation} of the KEK is {}: only a former one is retired",
                row.stage
            )));
        }
        let left = repo::count_wrapped_by(tx.conn(), &row.label).await?;
        if left > 0 {
            return Err(Error::conflict(format!(
                "`{}` wraps {left} data keys yet: wait until they are wrapped by the newer one",
                row.label
            )));
        }
        repo::advance(tx, generation, KekStage::Former, KekStage::Retired, now).await?;
        Ok(())
    }

    /// The data keys that another than the active KEK wraps.
    ///
    /// # Errors
    /// The store's.
    pub async fn wrapped_by_former(&self) -> Result<Vec<WrappedKey>> {
        let active = self.inner.active_kek().await?;
        let rows = repo::not_wrapped_by(&self.inner.store, &active.label).await?;
        Ok(rows.into_iter().map(|row| WrappedKey { row }).collect())
    }

    /// Wraps a data key by the active KEK. The key itself stays the same.
    ///
    /// # Errors
    /// `Internal` if what is stored does not open; `Unavailable` if the token does not answer.
    pub async fn wrap_anew(&self, key: &WrappedKey) -> Result<WrappedAnew> {
        let (inner, row) = (&*self.inner, &key.row);
        let to = inner.active_kek().await?;
        let plain = inner.decrypt(row).await?;
        let nonce = entropy::bytes(&*inner.entropy)?;
        let aad = format::dek_aad(&row.id, &row.domain, row.generation);
        let ciphertext = inner.hsm.encrypt(&to, nonce, &aad, &plain).await?;
        // INVARIANT: the one before is given up only for one that opens.
        let again = inner.hsm.decrypt(&to, nonce, &aad, &ciphertext).await?;
        verify_slices_are_equal(again.expose(), plain.expose())
            .map_err(|_| Error::internal(format!("the token wrapped the data key {} wrongly", row.id)))?;
        Ok(WrappedAnew {
            id: row.id,
            from: row.kek.clone(),
            to: to.label,
            wrapped: format::join_wrapped(nonce, &ciphertext),
        })
    }

    /// The generations as the store has them, the first one written down if it is not yet.
    async fn written(&self, tx: &Tx, now: Timestamp) -> Result<Vec<repo::Row>> {
        let rows = repo::rows(tx.conn()).await?;
        if !rows.is_empty() {
            return Ok(rows);
        }
        repo::insert(tx, 1, &self.inner.kek.label, KekStage::Active, now).await?;
        repo::rows(tx.conn()).await
    }
}

impl Inner {
    async fn keks(&self) -> Result<Vec<Kek>> {
        let rows = repo::rows(self.store.read()).await?;
        if rows.is_empty() {
            return Ok(vec![Kek {
                generation: 1,
                label: self.kek.label.clone(),
                stage: KekStage::Active,
                since: None,
                data_keys: 0,
            }]);
        }
        let keks = rows.into_iter().map(|row| Kek {
            generation: row.generation,
            label: row.label,
            stage: row.stage,
            since: Some(row.since),
            data_keys: 0,
        });
        Ok(keks.collect())
    }

    /// The generation that wraps.
    pub(super) async fn active_kek(&self) -> Result<KeyRef> {
        let mut keks = self.keks().await?.into_iter();
        let active = keks
            .rfind(|kek| kek.stage == KekStage::Active)
            .ok_or_else(|| Error::internal("no generation of the KEK is active"))?;
        Ok(self.labelled(active.label))
    }

    /// The generation of this label, if it may open; whether it was retired otherwise.
    pub(super) async fn opening_kek(&self, label: &str) -> Result<Result<KeyRef, Closed>> {
        let found = self.keks().await?.into_iter().find(|kek| kek.label == label);
        Ok(match found {
            Some(kek) if kek.stage.opens() => Ok(self.labelled(kek.label)),
            Some(kek) if kek.stage == KekStage::Retired => Err(Closed::Retired),
            Some(_) | None => Err(Closed::Unknown),
        })
    }

    pub(super) fn labelled(&self, label: String) -> KeyRef {
        KeyRef {
            label,
            kind: self.kek.kind,
        }
    }
}

/// Why nothing is opened by a label.
pub(super) enum Closed {
    Retired,
    Unknown,
}

fn under_way(label: &str) -> Error {
    Error::conflict(format!(
        "`{label}` is on its way already: see `vault rekey --kek --watch`"
    ))
}
