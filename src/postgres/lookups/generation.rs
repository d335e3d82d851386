//! A map that only grows, for one writer at a time and any number of readers without a lock: a row
//! that is there stays where it is until all is dropped, so readers may hold on to it.
//!
//! It is a few tables, each four times as large as the one before it; a table is never grown. Keys
//! lie apart from their rows, in slots as small as can be: what costs here is the way to memory
//! that is not in the processor's cache, and most questions are only whether a key is there.

use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};

use hashbrown::DefaultHashBuilder;

/// Tables: the last one would be 4^11 times as large as the first.
const TABLES: usize = 12;

/// Rows of the smallest table.
const ROWS_MIN: usize = 512;

/// Slots for two rows: at most two of three are taken, so that runs stay short.
const SLOTS_PER_2_ROWS: usize = 3;

/// See the module.
pub(super) struct Generation<K, V> {
    tables: [OnceLock<Table<K, V>>; TABLES],
    rows_max: usize,
    /// Rows in all tables.
    len: AtomicUsize,
    /// The number of the table that takes rows in; held by the writer.
    filling: Mutex<usize>,
    hasher: DefaultHashBuilder,
}

/// Slots by hash; what does not find its own free lies in the next free one behind it.
struct Table<K, V> {
    /// A key, and the number of its row.
    slots: Box<[OnceLock<(K, u32)>]>,
    rows: Box<[OnceLock<V>]>,
    len: AtomicUsize,
}

impl<K: Hash + Eq, V> Generation<K, V> {
    /// An empty one with room for `rows`, that takes in `rows_max` at most.
    pub(super) fn with_capacity(rows: usize, rows_max: usize) -> Self {
        let this = Self {
            tables: [const { OnceLock::new() }; TABLES],
            rows_max,
            len: AtomicUsize::new(0),
            filling: Mutex::new(0),
            hasher: DefaultHashBuilder::default(),
        };
        // A few more: it should not need a second table for the last ones.
        let rows = (rows + rows / 8).min(rows_max).max(ROWS_MIN);
        this.tables[0].get_or_init(|| Table::new(rows));
        this
    }

    /// The number of rows.
    pub(super) fn len(&self) -> usize {
        self.len.load(Relaxed)
    }

    /// The row under `key`.
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        let hash = self.hasher.hash_one(key);
        // Mostly there is one.
        self.tables.iter().map_while(OnceLock::get).find_map(|table| table.get(hash, key))
    }

    /// Whether there is a row under `key`.
    pub(super) fn has(&self, key: &K) -> bool {
        let hash = self.hasher.hash_one(key);
        self.tables.iter().map_while(OnceLock::get).any(|table| table.find(hash, key).is_some())
    }

    /// Takes `rows` in, as long as there is room; gives back those that there is none for.
    pub(super) fn take_in(&self, rows: Vec<(K, V)>) -> Vec<(K, V)> {
        let mut filling = self.filling.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left = Vec::new();
        for (key, row) in rows {
            // Another load may have brought it meanwhile.
            if self.has(&key) {
                continue;
            }
            if self.len() >= self.rows_max || !self.has_room(&mut filling) {
                left.push((key, row));
                continue;
            }
            if let Some(table) = self.tables[*filling].get() {
                table.put(self.hasher.hash_one(&key), key, row);
                self.len.fetch_add(1, Relaxed);
            }
        }
        left
    }

    /// Goes on to the next table if the one that is filled is full; false if that was the last.
    fn has_room(&self, filling: &mut usize) -> bool {
        let Some(full) = self.tables[*filling].get().filter(|table| table.is_full()) else {
            return true;
        };
        let rows = full.rows.len() * 4;
        let Some(next) = self.tables.get(*filling + 1) else { return false };
        next.get_or_init(|| Table::new(rows));
        *filling += 1;
        true
    }
}

impl<K: Eq, V> Table<K, V> {
    /// With room for `rows`.
    fn new(rows: usize) -> Self {
        Self {
            slots: (0..rows * SLOTS_PER_2_ROWS / 2).map(|_| OnceLock::new()).collect(),
            rows: (0..rows).map(|_| OnceLock::new()).collect(),
            len: AtomicUsize::new(0),
        }
    }

    fn is_full(&self) -> bool {
        self.len.load(Relaxed) >= self.rows.len()
    }

    /// The slots from that of `hash` on, round and round.
    fn slots(&self, hash: u64) -> impl Iterator<Item = &OnceLock<(K, u32)>> {
        // The hash as a share of all slots.
        let first = ((u128::from(hash) * self.slots.len() as u128) >> 64) as usize;
        self.slots[first..].iter().chain(self.slots.iter())
    }

    /// The number of the row under `key`.
    fn find(&self, hash: u64, key: &K) -> Option<usize> {
        let mut taken = self.slots(hash).map_while(OnceLock::get);
        taken.find(|(other, _)| other == key).map(|(_, row)| *row as usize)
    }

    fn get(&self, hash: u64, key: &K) -> Option<&V> {
        self.rows[self.find(hash, key)?].get()
    }

    /// To be called while it is not full.
    fn put(&self, hash: u64, key: K, row: V) {
        let number = self.len.fetch_add(1, Relaxed);
        let Ok(number_of_row) = u32::try_from(number) else { return };
        // The row first: who finds the key finds the row.
        if self.rows[number].set(row).is_err() {
            return;
        }
        let mut entry = (key, number_of_row);
        for slot in self.slots(hash) {
            match slot.set(entry) {
                Ok(()) => return,
                Err(back) => entry = back,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_that_was_taken_in_is_found_in_its_place() {
        let kept = Generation::with_capacity(0, 1_000_000);
        let rows = |keys: std::ops::Range<i64>| keys.map(|key| (key * 1024, key)).collect();
        assert!(kept.take_in(rows(0..500)).is_empty());
        let first: *const i64 = kept.get(&0).expect("it is there");
        assert!(kept.take_in(rows(0..50_000)).is_empty());
        assert_eq!(kept.len(), 50_000);
        assert!((0..50_000).all(|key| kept.get(&(key * 1024)) == Some(&key)));
        assert!(kept.get(&1).is_none());
        assert!(std::ptr::eq(first, kept.get(&0).expect("it is still there")));
    }

    #[test]
    fn what_there_is_no_room_for_comes_back() {
        let kept = Generation::with_capacity(0, 10);
        let left = kept.take_in((0..25).map(|key| (key, ())).collect());
        assert_eq!((kept.len(), left.len()), (10, 15));
        assert!(left.iter().all(|(key, ())| kept.get(key).is_none()));
    }
}
