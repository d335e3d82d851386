//! Holds a feed back while too much of what it sent is unsettled. The embedded Kafka throws away
//! the oldest records of a full partition, whether they were read or not.

use std::collections::VecDeque;
use std::fmt;

/// How much may be on its way: in the whole topic, or in each partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnreadLimit {
    /// In records.
    pub records: usize,
    /// In bytes.
    pub bytes: usize,
}

impl UnreadLimit {
    /// What a partition of the embedded Kafka holds for sure. It keeps 5 MiB, in whole message
    /// sets, of at most 1 MB each.
    pub const EMBEDDED: Self = Self { records: 50_000, bytes: 4 * 1024 * 1024 };
}

/// Tells how many records are settled, of those that were sent; asked often, so it should be cheap.
type Settled = Box<dyn FnMut(i32) -> u64 + Send>;

/// Knows what is on its way, from what was sent and from a closure that says what is settled.
pub struct Throttle {
    limit: UnreadLimit,
    // One for the topic, or one a partition, or none: then nothing is held back.
    lanes: Vec<Lane>,
    settled: Settled,
}

#[derive(Clone, Debug, Default)]
struct Lane {
    sent: u64,
    unread_bytes: usize,
    // The size of each record on its way: in bytes we must be exact, because records differ.
    unread: VecDeque<u32>,
}

impl Throttle {
    /// Limits the whole topic. `settled` says how many records are settled, of all sent: safe if
    /// one partition may hold all that is on its way.
    pub fn by_topic(limit: UnreadLimit, mut settled: impl FnMut() -> u64 + Send + 'static) -> Self {
        Self { limit, lanes: vec![Lane::default()], settled: Box::new(move |_| settled()) }
    }

    /// Limits each partition. `settled` says how many records are settled, of those sent to the
    /// partition: its stored offset, if the topic was new.
    pub fn by_partition(
        limit: UnreadLimit,
        partitions: i32,
        settled: impl FnMut(i32) -> u64 + Send + 'static,
    ) -> Self {
        let lanes = vec![Lane::default(); usize::try_from(partitions).unwrap_or(0).max(1)];
        Self { limit, lanes, settled: Box::new(settled) }
    }

    /// Holds nothing back.
    pub fn off() -> Self {
        let limit = UnreadLimit { records: usize::MAX, bytes: usize::MAX };
        Self { limit, lanes: Vec::new(), settled: Box::new(|_| u64::MAX) }
    }

    /// Whether a record of this size may be sent now. Asks what is settled only if it has to.
    pub fn admits(&mut self, partition: i32, size: usize) -> bool {
        let Some(lane) = lane_of(&mut self.lanes, partition) else { return true };
        if lane.has_room(&self.limit, size) {
            return true;
        }
        lane.settle((self.settled)(partition));
        lane.has_room(&self.limit, size)
    }

    /// Takes note of a record that was sent.
    pub fn sent(&mut self, partition: i32, size: usize) {
        let Some(lane) = lane_of(&mut self.lanes, partition) else { return };
        lane.sent += 1;
        lane.unread_bytes += size;
        lane.unread.push_back(u32::try_from(size).unwrap_or(u32::MAX));
    }
}

/// The lane of a partition; `None` if nothing is held back.
fn lane_of(lanes: &mut [Lane], partition: i32) -> Option<&mut Lane> {
    let lane = usize::try_from(partition).unwrap_or(0).checked_rem(lanes.len())?;
    lanes.get_mut(lane)
}

impl Lane {
    /// An empty lane takes any record, else a huge one would wait for ever.
    fn has_room(&self, limit: &UnreadLimit, size: usize) -> bool {
        let fits = self.unread.len() < limit.records
            && self.unread_bytes.saturating_add(size) <= limit.bytes;
        fits || self.unread.is_empty()
    }

    fn settle(&mut self, settled: u64) {
        let unread = self.sent.saturating_sub(settled);
        while self.unread.len() as u64 > unread {
            self.unread_bytes -= self.unread.pop_front().unwrap_or(0) as usize;
        }
    }
}

impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lanes = self.lanes.iter().map(|lane| (lane.sent, lane.unread.len()));
        f.debug_list().entries(lanes).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::{Throttle, UnreadLimit};

    const LIMIT: UnreadLimit = UnreadLimit { records: 3, bytes: 100 };

    #[test]
    fn a_full_topic_takes_nothing_until_something_is_settled() {
        let settled = Arc::new(AtomicU64::new(0));
        let known = Arc::clone(&settled);
        let mut throttle = Throttle::by_topic(LIMIT, move || known.load(Ordering::Relaxed));
        for partition in 0..3 {
            assert!(throttle.admits(partition, 10));
            throttle.sent(partition, 10);
        }
        assert!(!throttle.admits(0, 10));
        settled.store(1, Ordering::Relaxed);
        assert!(throttle.admits(0, 10));
    }

    #[test]
    fn bytes_count_too_but_a_huge_record_passes_alone() {
        let mut throttle = Throttle::by_partition(LIMIT, 2, |_| 0);
        assert!(throttle.admits(0, 60));
        throttle.sent(0, 60);
        assert!(!throttle.admits(0, 60));
        assert!(throttle.admits(1, 5000), "another partition is empty");
    }
}
