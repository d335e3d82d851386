//! Which keys of its first table a pipeline of own writes knows to be saved.

use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use hashbrown::HashSet;
use tokio_postgres::types::FromSqlOwned;

use super::row::WireType;

/// Keys of the pipeline's first table that are saved: before the group, or by the group so far.
#[derive(Debug)]
pub struct SavedKeys<K>(Mutex<HashSet<K>>);

impl<K: Hash + Eq + FromSqlOwned> SavedKeys<K> {
    /// Whether a record with `key` is saved.
    pub fn contains(&self, key: &K) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(key)
    }

    /// Whether no key is known to be saved.
    #[doc(hidden)]
    pub fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// The record with the key `identity` is saved.
    #[doc(hidden)]
    pub fn keep(&self, wire: &WireType, identity: &[u8]) {
        // The key of another column than the first table's: the store says so when it saves.
        if let Ok(key) = wire.read(identity) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
        }
    }
}

impl<K: Hash + Eq> FromIterator<K> for SavedKeys<K> {
    fn from_iter<I: IntoIterator<Item = K>>(keys: I) -> Self {
        Self(Mutex::new(keys.into_iter().collect()))
    }
}
