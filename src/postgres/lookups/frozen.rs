//! All rows of a table by their keys, never changed once they are there.

use std::hash::{BuildHasher, Hash};

use hashbrown::{DefaultHashBuilder, HashTable};

/// See the module.
pub(super) struct FrozenRows<K, V> {
    lines: HashTable<Line<K, V>>,
    hasher: DefaultHashBuilder,
}

/// A row and its key, from the beginning of a line of the processor's cache on: where they are not
/// long, it takes one way to memory to find the one and to read the other. That way is what a
/// question costs; 64 bytes from anywhere on take two.
#[repr(align(64))]
struct Line<K, V> {
    key: K,
    row: V,
}

impl<K: Hash + Eq, V> FrozenRows<K, V> {
    /// The number of rows.
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// The row under `key`.
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        let line = self.lines.find(self.hasher.hash_one(key), |line| line.key == *key)?;
        Some(&line.row)
    }
}

impl<K: Hash + Eq, V> FromIterator<(K, V)> for FrozenRows<K, V> {
    /// Of rows with one key, the first stays.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(rows: I) -> Self {
        let (rows, hasher) = (rows.into_iter(), DefaultHashBuilder::default());
        let mut lines = HashTable::with_capacity(rows.size_hint().0);
        for (key, row) in rows {
            let hash = hasher.hash_one(&key);
            let hash_of = |line: &Line<K, V>| hasher.hash_one(&line.key);
            lines
                .entry(hash, |line: &Line<K, V>| line.key == key, hash_of)
                .or_insert(Line { key, row });
        }
        Self { lines, hasher }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_and_of_those_with_one_key_the_first() {
        let rows: FrozenRows<i64, i64> = (0..5000).chain(0..10).zip(0..).collect();
        assert_eq!(rows.len(), 5000);
        assert!((0..5000).all(|key| rows.get(&key) == Some(&key)));
        assert_eq!(rows.get(&5000), None);
    }
}
