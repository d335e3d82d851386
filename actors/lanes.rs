//! Lanes: the records of one key in one partition, which are worked in offset order.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;

/// The lane keys of a batch's records, as a column; empty unless the pipeline is ordered by key.
#[derive(Clone, Debug, Default)]
pub struct LaneKeys {
    bytes: Vec<u8>,
    /// Where each record's key lies; [`NO_LANE`] for one that is in no lane.
    places: Vec<(u32, u32)>,
}

/// The place of no key: a record that gave no event is in no lane.
const NO_LANE: (u32, u32) = (u32::MAX, u32::MAX);

impl LaneKeys {
    /// Appends the next record's lane key; `None` for a record that is in no lane.
    pub fn push(&mut self, lane: Option<&[u8]>) {
        let end = |bytes: &Vec<u8>| u32::try_from(bytes.len()).expect("tickets bound a batch");
        let start = end(&self.bytes);
        self.places.push(match lane {
            Some(lane) => {
                self.bytes.extend_from_slice(lane);
                (start, end(&self.bytes))
            }
            None => NO_LANE,
        });
    }

    /// The lane key of the record at `index`, if it is in a lane.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let (start, end) = *self.places.get(index).filter(|place| **place != NO_LANE)?;
        Some(&self.bytes[start as usize..end as usize])
    }

    /// Whether no record is in a lane.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

/// The lanes of one partition with parked records that come back, and how many of each: whatever
/// comes behind them waits. As of the last transaction that was confirmed.
#[derive(Debug, Default)]
pub struct HeldLanes {
    lanes: Mutex<HashMap<Box<[u8]>, u32>>,
    /// Spares everybody the lock for as long as nothing is held.
    any: AtomicBool,
}

impl HeldLanes {
    /// Begins with what the store says.
    pub fn begin(&self, lanes: Vec<(Vec<u8>, u32)>) {
        let mut held = self.lock();
        *held = lanes.into_iter().map(|(lane, records)| (lane.into(), records)).collect();
        self.any.store(!held.is_empty(), SeqCst);
    }

    /// From here on, `records` of `lane` are parked.
    pub fn set(&self, lane: &[u8], records: u32) {
        let mut held = self.lock();
        if records == 0 {
            held.remove(lane);
        } else {
            held.insert(lane.into(), records);
        }
        self.any.store(!held.is_empty(), SeqCst);
    }

    /// How many records of `lane` are parked and come back.
    pub fn records(&self, lane: &[u8]) -> u32 {
        if self.is_empty() {
            return 0;
        }
        self.lock().get(lane).copied().unwrap_or(0)
    }

    /// Whether no lane is held.
    pub fn is_empty(&self) -> bool {
        !self.any.load(SeqCst)
    }

    /// The longest of them.
    pub fn longest(&self) -> u32 {
        self.lock().values().copied().max().unwrap_or(0)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<[u8]>, u32>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_lane_key_is_a_lane_and_no_event_is_in_none() {
        let mut lanes = LaneKeys::default();
        for lane in [Some(&b"a"[..]), Some(b""), None, Some(b"b")] {
            lanes.push(lane);
        }
        let all: Vec<_> = (0..5).map(|index| lanes.get(index)).collect();
        assert_eq!(all, [Some(&b"a"[..]), Some(&b""[..]), None, Some(&b"b"[..]), None]);
    }

    #[test]
    fn a_lane_is_held_until_nothing_of_it_is_parked() {
        let held = HeldLanes::default();
        held.begin(vec![(b"a".to_vec(), 2)]);
        assert_eq!((held.records(b"a"), held.records(b"b"), held.is_empty()), (2, 0, false));
        held.set(b"a", 0);
        assert_eq!((held.records(b"a"), held.is_empty()), (0, true));
    }
}
