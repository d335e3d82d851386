//! What a lookup found, by key: rows that were read for the batch, and those that were there.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use hashbrown::HashMap;

use super::generation::Generation;

/// What a lookup found, by key.
pub struct Lookup<K, V> {
    /// Rows that were there, and will stay for others.
    kept: Option<Arc<Generation<K, V>>>,
    /// Rows that were read for the batch alone.
    read: HashMap<K, V>,
}

impl<K: Hash + Eq, V> Lookup<K, V> {
    pub(super) fn joined(kept: Arc<Generation<K, V>>, read: Vec<(K, V)>) -> Self {
        Self { kept: Some(kept), read: read.into_iter().collect() }
    }

    /// What is known under `key`.
    pub fn get(&self, key: &K) -> Option<&V> {
        match &self.kept {
            Some(kept) => kept.get(key).or_else(|| self.read.get(key)),
            None => self.read.get(key),
        }
    }

    /// The number of rows that were read for the batch alone.
    pub fn num_read(&self) -> usize {
        self.read.len()
    }
}

impl<K, V> Default for Lookup<K, V> {
    fn default() -> Self {
        Self { kept: None, read: HashMap::new() }
    }
}

impl<K, V> fmt::Debug for Lookup<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup").finish_non_exhaustive()
    }
}

impl<K: Hash + Eq, V> FromIterator<(K, V)> for Lookup<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(found: I) -> Self {
        Self { kept: None, read: found.into_iter().collect() }
    }
}
