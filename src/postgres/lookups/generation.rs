//! A map that only grows, for one writer at a time and any number of readers without a lock: a row
//! that is there stays where it is until all is dropped, so readers may hold on to it.
//!
//! It is a few tables, each four times as large as the one before it; a table is never grown. The
//! row lies in its slot beside its key: to find it costs one miss of the processor's cache.

use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};

use hashbrown::DefaultHashBuilder;

/// Tables: the last one would be 4^11 times as large as the first.
const TABLES: usize = 12;

/// Slots of the smallest table.
const SLOTS_MIN: usize = 1024;

/// Slots for each row: at most two of three are taken, so that runs stay short.
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
    slots: Box<[OnceLock<(K, V)>]>,
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
        let slots = rows.min(rows_max).saturating_mul(SLOTS_PER_2_ROWS).max(SLOTS_MIN);
        this.tables[0].get_or_init(|| Table::new(slots.next_power_of_two()));
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

    /// Takes `rows` in, as long as there is room; gives back those that there is none for.
    pub(super) fn take_in(&self, rows: Vec<(K, V)>) -> Vec<(K, V)> {
        let mut filling = self.filling.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left = Vec::new();
        for (key, row) in rows {
            // Another load may have brought it meanwhile.
            if self.get(&key).is_some() {
                continue;
            }
            if self.len() >= self.rows_max || !self.has_room(&mut filling) {
                left.push((key, row));
                continue;
            }
            if let Some(table) = self.tables[*filling].get() {
                table.put(self.hasher.hash_one(&key), (key, row));
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
        let slots = full.slots.len() * 4;
        let Some(next) = self.tables.get(*filling + 1) else { return false };
        next.get_or_init(|| Table::new(slots));
        *filling += 1;
        true
    }
}

impl<K: Eq, V> Table<K, V> {
    /// `slots`: a power of two.
    fn new(slots: usize) -> Self {
        Self { slots: (0..slots).map(|_| OnceLock::new()).collect(), len: AtomicUsize::new(0) }
    }

    fn is_full(&self) -> bool {
        self.len.load(Relaxed) * SLOTS_PER_2_ROWS >= self.slots.len() * 2
    }

    /// The slot number `at`, counted round and round.
    fn slot(&self, at: usize) -> &OnceLock<(K, V)> {
        &self.slots[at & (self.slots.len() - 1)]
    }

    fn get(&self, hash: u64, key: &K) -> Option<&V> {
        let mut at = hash as usize;
        // A third of the slots is free: it comes to an end.
        while let Some((other, row)) = self.slot(at).get() {
            if other == key {
                return Some(row);
            }
            at = at.wrapping_add(1);
        }
        None
    }

    fn put(&self, hash: u64, mut row: (K, V)) {
        let mut at = hash as usize;
        while let Err(back) = self.slot(at).set(row) {
            (row, at) = (back, at.wrapping_add(1));
        }
        self.len.fetch_add(1, Relaxed);
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
