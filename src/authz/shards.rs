//! A map that is copied for every change, and of which a change copies a small part only.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// How many parts. With 10^5 entries a change copies some 400.
const SHARDS: usize = 256;

/// By key. A copy shares everything with its original, until one of them is changed.
pub(super) struct Shards<V>(Vec<Arc<HashMap<String, Arc<V>>>>);

impl<V> Clone for Shards<V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<V> Default for Shards<V> {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| Arc::default()).collect())
    }
}

impl<V> Shards<V> {
    pub(super) fn get(&self, key: &str) -> Option<&Arc<V>> {
        self.0.get(place(key))?.get(key)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&String, &Arc<V>)> {
        self.0.iter().flat_map(|shard| shard.iter())
    }

    pub(super) fn insert(&mut self, key: String, value: V) {
        if let Some(shard) = self.0.get_mut(place(&key)) {
            Arc::make_mut(shard).insert(key, Arc::new(value));
        }
    }
}

fn place(key: &str) -> usize {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    usize::try_from(hasher.finish() % SHARDS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_does_not_see_what_becomes_of_its_original() {
        let mut first = Shards::default();
        for number in 0..1_000 {
            first.insert(number.to_string(), number);
        }
        let copy = first.clone();
        first.insert("7".to_owned(), 77);
        first.insert("new".to_owned(), 1);
        assert_eq!((**first.get("7").unwrap(), **copy.get("7").unwrap()), (77, 7));
        assert!(copy.get("new").is_none());
        assert!((0..1_000).all(|number: i32| copy.get(&number.to_string()).is_some_and(|found| **found == number)));
    }
}
