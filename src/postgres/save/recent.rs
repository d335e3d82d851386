//! Keys that were saved a moment ago. Repeats are mostly close together: those that are found here
//! need neither a probe nor the server.
//!
//! A key is taken in only after a confirmed COMMIT. The set forgets everything when a partition was
//! taken over again (its rows may have been removed meanwhile) and with the connection.

use hashbrown::HashMap;
use longshore_actors::fence::Position;
use longshore_actors::record::PartitionId;

/// Places of one set of keys, the newest first.
const WAYS: usize = 4;

/// Sets of keys: 32,768 keys, 544 KiB, for each session.
const SETS: usize = 8192;

/// A key of at most 16 bytes, filled up with zeros, and its length, which is not 0.
type ShortKey = (u128, u8);

/// The keys of one set: one line of the processor's cache.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct KeySet([u128; WAYS]);

/// A bounded set of keys.
#[derive(Default)]
pub(super) struct RecentKeys {
    /// Made with the first key: many a pipeline has none.
    sets: Vec<KeySet>,
    /// The lengths of their keys; 0 is an empty place.
    lengths: Vec<[u8; WAYS]>,
    /// Under which epoch and attempt each partition's keys were taken in.
    held: HashMap<PartitionId, (i64, u32)>,
}

impl RecentKeys {
    /// Forgets all keys if `partition` is held anew.
    pub(super) fn check(&mut self, partition: &PartitionId, position: Position) {
        let now = (position.epoch, position.attempt);
        match self.held.get(partition) {
            Some(held) if *held == now => {}
            Some(_) => {
                self.forget();
                self.held.insert(partition.clone(), now);
            }
            None => {
                self.held.insert(partition.clone(), now);
            }
        }
    }

    /// Forgets everything.
    pub(super) fn forget(&mut self) {
        self.lengths.fill([0; WAYS]);
        self.held.clear();
    }

    /// Whether `key` was saved a moment ago.
    pub(super) fn contains(&self, key: ShortKey) -> bool {
        let set = set_of(key);
        self.sets.get(set).is_some_and(|keys| holds(keys, &self.lengths[set], key))
    }

    /// Takes in a key that is saved for certain; an old one of its set makes room.
    pub(super) fn insert(&mut self, key: ShortKey) {
        if self.sets.is_empty() {
            self.sets = vec![KeySet::default(); SETS];
            self.lengths = vec![[0; WAYS]; SETS];
        }
        let set = set_of(key);
        let (keys, lengths) = (&mut self.sets[set], &mut self.lengths[set]);
        if !holds(keys, lengths, key) {
            keys.0.rotate_right(1);
            lengths.rotate_right(1);
            (keys.0[0], lengths[0]) = key;
        }
    }
}

fn holds(keys: &KeySet, lengths: &[u8; WAYS], (key, length): ShortKey) -> bool {
    keys.0.iter().zip(lengths).any(|(other, of)| *other == key && *of == length)
}

/// Keys may be numbers in a row or random: multiply, and take the highest bits.
fn set_of((key, length): ShortKey) -> usize {
    let folded = (key ^ (key >> 64)) as u64 ^ u64::from(length);
    (folded.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - SETS.ilog2())) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(attempt: u32) -> Position {
        let expected = longshore_actors::record::NextOffset(0);
        Position { epoch: 1, expected, attempt, turn: 0 }
    }

    #[test]
    fn an_all_zero_key_is_a_key() {
        let mut recent = RecentKeys::default();
        assert!(!recent.contains((0, 16)));
        recent.insert((0, 16));
        assert!(recent.contains((0, 16)));
        assert!(!recent.contains((0, 8)));
    }

    #[test]
    fn the_newest_keys_stay() {
        let mut recent = RecentKeys::default();
        for key in 0..100_000_u128 {
            recent.insert((key << 64, 8));
        }
        let kept = (0..100_000_u128).filter(|key| recent.contains((key << 64, 8))).count();
        assert!((20_000..=WAYS * SETS).contains(&kept), "{kept}");
        assert!(recent.contains((99_999 << 64, 8)));
    }

    #[test]
    fn a_partition_that_is_held_anew_empties_the_set() {
        let (mut recent, partition) = (RecentKeys::default(), PartitionId::new("t", 0));
        recent.check(&partition, position(0));
        recent.insert((7, 8));
        recent.check(&partition, position(0));
        recent.check(&PartitionId::new("t", 1), position(5));
        assert!(recent.contains((7, 8)));
        recent.check(&partition, position(1));
        assert!(!recent.contains((7, 8)));
    }
}
