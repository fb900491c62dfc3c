//! The sealed rows of hot objects.
//!
//! INVARIANT: once a commit of this node has been acknowledged, no row that it replaced is answered. The commit's hook
//! removes the row under its slot's mutex and moves the slot's epoch; a loader notes the epoch *before* its query and
//! its row is taken only if the epoch has not moved since. What other nodes commit is seen by the store's generation:
//! a row that was loaded under another generation is no hit.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::id::{Label, ObjectName};

/// Slots of epochs: two keys that share one only cost a load.
const SLOTS: usize = 256;

/// An object's name in the whole service, among those of its kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) vault: Label,
    pub(super) name: ObjectName,
}

/// What can be kept.
pub(super) trait Row: Send + Sync + 'static {
    /// How much memory it takes, in bytes, roughly.
    fn bytes(&self) -> usize;
}

struct Held<R> {
    generation: u64,
    row: Arc<R>,
}

/// The right to put one loaded row in, if nothing has changed since.
pub(super) struct Ticket {
    generation: u64,
    slot: usize,
    epoch: u64,
}

pub(super) struct Cache<R> {
    rows: moka::sync::Cache<Key, Arc<Held<R>>>,
    epochs: Vec<Mutex<u64>>,
    hasher: RandomState,
}

impl<R: Row> Cache<R> {
    /// With room for about `bytes` bytes of rows.
    pub(super) fn new(bytes: u64) -> Self {
        let rows = moka::sync::Cache::builder()
            .max_capacity(bytes)
            .weigher(|key: &Key, held: &Arc<Held<R>>| {
                let bytes = key.name.as_str().len() + held.row.bytes() + 512;
                u32::try_from(bytes).unwrap_or(u32::MAX)
            })
            .build();
        Self {
            rows,
            epochs: (0..SLOTS).map(|_| Mutex::new(0)).collect(),
            hasher: RandomState::new(),
        }
    }

    /// The current row, if it was loaded under `generation` and not replaced since.
    pub(super) fn get(&self, key: &Key, generation: u64) -> Option<Arc<R>> {
        let held = self.rows.get(key)?;
        (held.generation == generation).then(|| held.row.clone())
    }

    /// To be taken before the query whose row it is for.
    pub(super) fn ticket(&self, key: &Key, generation: u64) -> Ticket {
        let slot = self.slot(key);
        Ticket {
            generation,
            slot,
            epoch: self.epoch(slot).map_or(0, |epoch| *epoch),
        }
    }

    /// Keeps a loaded row, unless a commit came between.
    pub(super) fn put(&self, ticket: &Ticket, key: Key, row: Arc<R>) {
        let Some(epoch) = self.epoch(ticket.slot) else { return };
        if *epoch == ticket.epoch {
            let generation = ticket.generation;
            self.rows.insert(key, Arc::new(Held { generation, row }));
        }
    }

    /// Drops a row whose object has changed. Called by the commit's hook.
    pub(super) fn changed(&self, key: &Key) {
        if let Some(mut epoch) = self.epoch(self.slot(key)) {
            *epoch = epoch.wrapping_add(1);
            self.rows.invalidate(key);
        }
    }

    /// Drops every row. Called by the commit's hook where many objects have changed.
    pub(super) fn clear(&self) {
        for slot in 0..SLOTS {
            if let Some(mut epoch) = self.epoch(slot) {
                *epoch = epoch.wrapping_add(1);
            }
        }
        self.rows.invalidate_all();
    }

    fn slot(&self, key: &Key) -> usize {
        usize::try_from(self.hasher.hash_one(key) % SLOTS as u64).unwrap_or(0)
    }

    fn epoch(&self, slot: usize) -> Option<MutexGuard<'_, u64>> {
        // A panic cannot leave a number half-written.
        Some(self.epochs.get(slot)?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Row for u64 {
        fn bytes(&self) -> usize {
            8
        }
    }

    fn key() -> Key {
        Key {
            vault: "kv".parse().unwrap(),
            name: "a".parse().unwrap(),
        }
    }

    #[test]
    fn a_row_read_before_a_commit_is_not_kept_after_it() {
        let cache = Cache::new(1 << 20);
        let before = cache.ticket(&key(), 0);
        cache.changed(&key());
        cache.put(&before, key(), Arc::new(1_u64));
        assert!(cache.get(&key(), 0).is_none());

        let after = cache.ticket(&key(), 0);
        cache.put(&after, key(), Arc::new(2));
        assert_eq!(*cache.get(&key(), 0).unwrap(), 2);
        cache.changed(&key());
        assert!(cache.get(&key(), 0).is_none());
    }

    #[test]
    fn nothing_is_left_of_what_was_read_before_all_was_dropped() {
        let cache = Cache::new(1 << 20);
        cache.put(&cache.ticket(&key(), 0), key(), Arc::new(1_u64));
        let before = cache.ticket(&key(), 0);
        cache.clear();
        assert!(cache.get(&key(), 0).is_none());
        cache.put(&before, key(), Arc::new(1));
        assert!(cache.get(&key(), 0).is_none());
        cache.put(&cache.ticket(&key(), 0), key(), Arc::new(2));
        assert_eq!(*cache.get(&key(), 0).unwrap(), 2);
    }

    #[test]
    fn a_row_of_another_generation_is_no_hit() {
        let cache = Cache::new(1 << 20);
        cache.put(&cache.ticket(&key(), 3), key(), Arc::new(1_u64));
        assert!(cache.get(&key(), 3).is_some());
        assert!(cache.get(&key(), 4).is_none());
    }
}
