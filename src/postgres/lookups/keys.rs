//! Keys: those to look up, gathered record by record, and those that a probe found.

use std::hash::Hash;

use hashbrown::HashSet;

/// Keys to look up. They are gathered as they come, since most of a batch's are met again: whoever
/// needs them distinct sorts them once, which the database wants them anyway.
#[derive(Clone, Debug)]
pub struct WantedKeys<K>(Vec<K>);

impl<K: Ord + Clone> WantedKeys<K> {
    /// Asks for `key`.
    pub fn want(&mut self, key: K) {
        self.0.push(key);
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How often a key was asked for.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes in the keys of `other`.
    pub fn unite(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    /// All keys as they were asked for, one and the same perhaps more than once.
    pub(super) fn iter(&self) -> impl Iterator<Item = &K> {
        self.0.iter()
    }

    /// The distinct keys in order: an index is walked faster by sorted keys.
    pub fn sorted(&self) -> Vec<K> {
        distinct(self.0.clone())
    }
}

impl<K> Default for WantedKeys<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// Sorts `keys`, each of them once.
pub(super) fn distinct<K: Ord>(mut keys: Vec<K>) -> Vec<K> {
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Distinct keys that a probe found.
#[derive(Clone, Debug)]
pub struct KeySet<K>(HashSet<K>);

impl<K: Hash + Eq> KeySet<K> {
    /// Whether `key` is among them.
    pub fn contains(&self, key: &K) -> bool {
        // Without a hash while repeats are rare.
        !self.0.is_empty() && self.0.contains(key)
    }

    /// Never: a probe finds few keys.
    #[doc(hidden)]
    pub fn is_far(&self) -> bool {
        false
    }

    /// Does nothing.
    #[doc(hidden)]
    pub fn bring_near(&self, _: &WantedKeys<K>) {}

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K> Default for KeySet<K> {
    fn default() -> Self {
        Self(HashSet::new())
    }
}

impl<K: Hash + Eq> FromIterator<K> for KeySet<K> {
    fn from_iter<I: IntoIterator<Item = K>>(keys: I) -> Self {
        Self(keys.into_iter().collect())
    }
}
