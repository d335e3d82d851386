//! Parked records: put aside in the transaction that settles them, raw as they came, and how they
//! come back.
//!
//! | state | what happens to it |
//! |---|---|
//! | retrying | it comes back by itself when it is due, by the [`RetryPolicy`] |
//! | waiting | an earlier record of its lane is retrying: it follows in offset order |
//! | dead | it waits for a person |
//!
//! What is due comes back as a batch of its own ([`DueBatch`]) in the partition's sequence: it has
//! a ticket and the partition's fence, and no range, since its records are settled already. The
//! first record of a lane that is not dead is the lane's head; nothing overtakes it.

use std::time::Duration;

use crate::arena::RecordArena;

/// How a record is parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParkAs {
    /// For a person to look at.
    Dead,
    /// To come back by itself: after so long, or when the policy says.
    Retrying(Option<Duration>),
    /// Behind an earlier record of its lane.
    Waiting,
}

/// The reason that a record which waits for its turn is parked with.
pub const WAITS: &str = "waits for an earlier record of its key";

/// When records come back that are to be retried, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The pause after the first attempt; each further one is twice as long.
    pub first: Duration,
    /// The longest pause.
    pub max: Duration,
    /// Attempts, the first one included, before a record is dead.
    pub attempts: u32,
    /// Records of one lane that may be parked before its partition stops reading.
    pub lane_records: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        let (first, max) = (Duration::from_secs(1), Duration::from_secs(600));
        Self { first, max, attempts: 10, lane_records: 10_000 }
    }
}

impl RetryPolicy {
    /// The pause after attempt number `attempts` (from 1) has failed: between half of the policy's
    /// and all of it, so that what failed together does not come back together. `None`: that was
    /// the last attempt.
    pub fn pause(&self, attempts: u32) -> Option<Duration> {
        if attempts >= self.attempts {
            return None;
        }
        let doubled = 2_u32.saturating_pow(attempts.saturating_sub(1));
        let pause = self.first.saturating_mul(doubled).min(self.max);
        Some(pause.mul_f64(0.5 + fastrand::f64() / 2.0))
    }
}

/// The row that a record of a [`DueBatch`] comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParkedRef {
    /// The row's id.
    pub id: i64,
    /// How often it was tried.
    pub attempts: u32,
}

/// Parked records of one partition whose turn has come, lane by lane from the head on.
#[derive(Debug)]
pub struct DueBatch {
    /// The records, in offset order.
    pub arena: RecordArena,
    /// Their rows, in the same order.
    pub rows: Vec<ParkedRef>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_end_with_the_last_attempt() {
        let (first, max) = (Duration::from_secs(1), Duration::from_secs(5));
        let policy = RetryPolicy { first, max, attempts: 5, lane_records: 1 };
        for (attempts, whole) in [(1, 1.0), (2, 2.0), (3, 4.0), (4, 5.0)] {
            let pause = policy.pause(attempts).expect("not the last").as_secs_f64();
            assert!((whole / 2.0..=whole).contains(&pause), "{attempts}: {pause}");
        }
        assert_eq!(policy.pause(5), None);
        let for_ever = RetryPolicy { attempts: u32::MAX, ..policy };
        assert!(for_ever.pause(4_000_000).is_some_and(|pause| pause <= max));
    }
}
