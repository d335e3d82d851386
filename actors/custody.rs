//! Custody of one batch's records: taken at the door, ended exactly once, and counted at that
//! moment, whoever is still alive then. Held by everybody who may still settle the batch; when the
//! last of them lets go of an open one, its records are given up.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::conservation::Settled;
use crate::fence::Fence;
use crate::gate::Pass;

/// See the module.
#[derive(Debug)]
pub struct Custody {
    fence: Arc<Fence>,
    in_hand: InHand,
    records: u64,
    /// Its records were settled before, by being parked.
    was_parked: bool,
    state: Mutex<State>,
    /// Held while its records are behind the gate.
    pass: Mutex<Option<Pass>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the house; how its records are settled if a transaction of unknown outcome did commit.
    Open(Option<Settled>),
    /// Committed for certain; how its records were settled is still to be heard.
    Committed,
    /// Counted.
    Ended,
}

impl Custody {
    /// Takes `records` of the fence's partition in, and counts them as read.
    pub fn take(fence: Arc<Fence>, in_hand: InHand, records: u64) -> Arc<Self> {
        fence.counts().add_read(records);
        in_hand.0.fetch_add(1, SeqCst);
        Arc::new(Self::open(fence, in_hand, records, false))
    }

    /// Takes in `records` of the fence's partition that were parked: they were read before.
    pub fn take_parked(fence: Arc<Fence>, records: u64) -> Arc<Self> {
        let in_hand = InHand::default();
        in_hand.0.fetch_add(1, SeqCst);
        Arc::new(Self::open(fence, in_hand, records, true))
    }

    fn open(fence: Arc<Fence>, in_hand: InHand, records: u64, was_parked: bool) -> Self {
        let (state, pass) = (Mutex::new(State::Open(None)), Mutex::default());
        Self { fence, in_hand, records, was_parked, state, pass }
    }

    fn count(&self, settled: Settled) {
        if self.was_parked {
            self.fence.counts().add_parked_settled(settled);
        } else {
            self.fence.counts().add_settled(settled);
        }
    }

    /// Keeps a pass through the gate for as long as the batch is not settled.
    pub(crate) fn keep(&self, pass: Pass) {
        *self.pass() = Some(pass);
    }

    /// Gives its pass back: the batch is not behind the gate any more.
    pub(crate) fn give_back_pass(&self) {
        *self.pass() = None;
    }

    /// Whether it has a pass.
    pub(crate) fn has_pass(&self) -> bool {
        self.pass().is_some()
    }

    fn pass(&self) -> MutexGuard<'_, Option<Pass>> {
        self.pass.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The batch is committed, and this is what its records came to.
    pub fn settle(&self, settled: Settled) {
        let mut state = self.lock();
        if *state != State::Ended {
            if matches!(*state, State::Open(_)) {
                self.in_hand.0.fetch_sub(1, SeqCst);
            }
            *state = State::Ended;
            self.count(settled);
            *self.pass() = None;
        }
    }

    /// Its COMMIT was not answered: this is what its records come to if it went through.
    pub fn unconfirmed(&self, settled: Settled) {
        let mut state = self.lock();
        match *state {
            State::Open(_) => *state = State::Open(Some(settled)),
            State::Committed => {
                *state = State::Ended;
                self.count(settled);
            }
            State::Ended => {}
        }
    }

    /// The database says that the batch is committed.
    pub fn committed(&self) {
        let mut state = self.lock();
        let State::Open(known) = *state else { return };
        self.in_hand.0.fetch_sub(1, SeqCst);
        *self.pass() = None;
        *state = match known {
            Some(settled) => {
                self.count(settled);
                State::Ended
            }
            None => State::Committed,
        };
    }

    /// Hands the records over to custodies of so many each.
    pub(crate) fn divide(&self, parts: impl Iterator<Item = usize>) -> Vec<Arc<Self>> {
        let part = |records: usize| {
            self.in_hand.0.fetch_add(1, SeqCst);
            let (fence, in_hand) = (self.fence.clone(), self.in_hand.clone());
            Arc::new(Self::open(fence, in_hand, records as u64, self.was_parked))
        };
        let divided = parts.map(part).collect();
        self.in_hand.0.fetch_sub(1, SeqCst);
        *self.lock() = State::Ended;
        divided
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Custody {
    fn drop(&mut self) {
        let state = *self.lock();
        match state {
            State::Open(_) => {
                self.in_hand.0.fetch_sub(1, SeqCst);
                if !self.was_parked {
                    self.fence.counts().add_given_up(self.records);
                }
            }
            // How each record was settled died with the notice.
            State::Committed => {
                self.count(Settled { saved: self.records, ..Settled::default() });
            }
            State::Ended => {}
        }
    }
}

/// The number of batches of one door that are open.
#[derive(Clone, Debug, Default)]
pub struct InHand(Arc<AtomicUsize>);

impl InHand {
    /// The number now.
    pub fn get(&self) -> usize {
        self.0.load(SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::PartitionId;

    const SETTLED: Settled = Settled { saved: 2, skipped: 1, duplicate: 0, parked: 0 };

    fn taken() -> (Arc<Fence>, InHand, Arc<Custody>) {
        let fence = Arc::new(Fence::new(PartitionId::new("t", 0)));
        let in_hand = InHand::default();
        let custody = Custody::take(fence.clone(), in_hand.clone(), 3);
        (fence, in_hand, custody)
    }

    #[test]
    fn records_that_nobody_settled_are_given_up_by_the_last_who_lets_go() {
        let (fence, in_hand, custody) = taken();
        let other = custody.clone();
        drop(custody);
        assert_eq!((fence.counts().snapshot().in_flight(), in_hand.get()), (3, 1));
        drop(other);
        let counts = fence.counts().snapshot();
        assert_eq!((counts.given_up, counts.in_flight(), in_hand.get()), (3, 0, 0));
    }

    #[test]
    fn a_batch_is_counted_once_whatever_is_heard_of_it_and_in_which_order() {
        let tellings: [&[fn(&Custody)]; 4] = [
            &[|c| c.settle(SETTLED), |c| c.committed(), |c| c.settle(SETTLED)],
            &[|c| c.committed(), |c| c.settle(SETTLED)],
            &[|c| c.unconfirmed(SETTLED), |c| c.committed(), |c| c.committed()],
            &[|c| c.committed(), |c| c.unconfirmed(SETTLED)],
        ];
        for telling in tellings {
            let (fence, in_hand, custody) = taken();
            telling.iter().for_each(|tell| tell(&custody));
            drop(custody);
            let counts = fence.counts().snapshot();
            assert_eq!((counts.settled, counts.given_up, in_hand.get()), (SETTLED, 0, 0));
        }
    }
}
