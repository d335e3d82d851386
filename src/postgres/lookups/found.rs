//! What a lookup found, by key: rows that were read for the batch, and those that were there.

use std::fmt;
use std::hash::Hash;
use std::hint::black_box;
use std::sync::Arc;

use hashbrown::HashMap;

use super::frozen::FrozenRows;
use super::generation::Generation;
use super::keys::WantedKeys;

/// Half of the second-level cache of a server's core, and less.
const NEAR_BYTES: usize = 256 * 1024;

/// What a lookup found, by key.
pub struct Lookup<K, V> {
    /// Rows that were there, and will stay for others.
    kept: Kept<K, V>,
    /// Rows that were read for the batch alone.
    read: HashMap<K, V>,
}

/// Rows that are kept from batch to batch.
pub(super) enum Kept<K, V> {
    /// None.
    Nothing,
    /// All of a table.
    Whole(Arc<FrozenRows<K, V>>),
    /// Those that were looked up a moment ago; more may come meanwhile.
    Recent(Arc<Generation<K, V>>),
}

impl<K: Hash + Eq, V> Kept<K, V> {
    /// Whether there is a row under `key`.
    pub(super) fn has(&self, key: &K) -> bool {
        match self {
            Self::Nothing => false,
            Self::Whole(rows) => rows.get(key).is_some(),
            Self::Recent(rows) => rows.has(key),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Whole(rows) => rows.len(),
            Self::Recent(rows) => rows.len(),
        }
    }

    fn get(&self, key: &K) -> Option<&V> {
        match self {
            Self::Nothing => None,
            Self::Whole(rows) => rows.get(key),
            Self::Recent(rows) => rows.get(key),
        }
    }
}

impl<K: Hash + Eq, V> Lookup<K, V> {
    pub(super) fn joined(kept: Kept<K, V>, read: Vec<(K, V)>) -> Self {
        Self { kept, read: read.into_iter().collect() }
    }

    /// What is known under `key`.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.kept.get(key).or_else(|| self.read.get(key))
    }

    /// Whether its rows are more than fit into the processor's cache beside what a record's work
    /// needs.
    #[doc(hidden)]
    pub fn is_far(&self) -> bool {
        (self.kept.len() + self.read.len()) * size_of::<(K, V)>() > NEAR_BYTES
    }

    /// Brings the rows under `keys` near.
    #[doc(hidden)]
    pub fn bring_near(&self, keys: &WantedKeys<K>)
    where
        K: Ord + Clone,
    {
        // Told by the answers, so that nobody leaves the questions out.
        black_box(keys.iter().filter(|key| self.get(key).is_some()).count());
    }

    /// The number of rows that were read for the batch alone.
    pub fn num_read(&self) -> usize {
        self.read.len()
    }
}

impl<K, V> Default for Lookup<K, V> {
    fn default() -> Self {
        Self { kept: Kept::Nothing, read: HashMap::new() }
    }
}

impl<K, V> fmt::Debug for Lookup<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup").finish_non_exhaustive()
    }
}

impl<K: Hash + Eq, V> FromIterator<(K, V)> for Lookup<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(found: I) -> Self {
        Self { kept: Kept::Nothing, read: found.into_iter().collect() }
    }
}
