//! Whose turn it is. Records of one lane meet the same worker and are worked one after the other,
//! also when one of them waits for a service meanwhile, and in whichever batch the next one comes.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use hashbrown::HashMap;
use tokio::sync::Notify;

/// What only one at a time may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Lane {
    /// Of one assignment: to begin with records. Those of a later batch come after those of an
    /// earlier one.
    Door(u64),
    /// Of one assignment: to work a record of the lane with this hash.
    Records(u64, u64),
}

/// The lanes of one worker that somebody has, and who waits for them. Cheap to clone; all clones
/// are one book.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turns(Rc<RefCell<HashMap<Lane, VecDeque<Waiter>>>>);

/// A record in a line; of the door, whoever comes with it.
#[derive(Debug)]
struct Waiter {
    /// Gone, if its part of a batch is not worked any more.
    called: Weak<Called>,
    record: u32,
}

/// Those of one part of a batch whose turn has come.
#[derive(Debug, Default)]
pub(crate) struct Called {
    turns: RefCell<VecDeque<(u32, Turn)>>,
    news: Notify,
}

/// The turn in one lane. Dropped, it is the next one's.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Turns,
    lane: Lane,
}

impl Turns {
    /// Whether somebody has `lane`.
    pub(crate) fn is_taken(&self, lane: Lane) -> bool {
        self.0.borrow().contains_key(&lane)
    }

    /// Takes `lane`, which nobody has.
    pub(crate) fn take(&self, lane: Lane) -> Turn {
        let before = self.0.borrow_mut().insert(lane, VecDeque::new());
        debug_assert!(before.is_none(), "{lane:?} was taken");
        Turn { turns: self.clone(), lane }
    }

    /// Puts `record` into the line of `lane`, which somebody has; `called` hears of its turn.
    pub(crate) fn wait(&self, lane: Lane, called: &Rc<Called>, record: u32) {
        let waiter = Waiter { called: Rc::downgrade(called), record };
        self.0.borrow_mut().entry(lane).or_default().push_back(waiter);
    }

    /// Takes the next one that still wants it out of the line; without any, the lane is free.
    fn next(&self, lane: Lane) -> Option<(Rc<Called>, u32)> {
        let mut lanes = self.0.borrow_mut();
        let line = lanes.get_mut(&lane)?;
        while let Some(waiter) = line.pop_front() {
            if let Some(called) = waiter.called.upgrade() {
                return Some((called, waiter.record));
            }
        }
        lanes.remove(&lane);
        None
    }
}

impl Turn {
    /// Where it is.
    pub(crate) fn lane(&self) -> Lane {
        self.lane
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some((called, record)) = self.turns.next(self.lane) {
            let turn = Self { turns: self.turns.clone(), lane: self.lane };
            called.turns.borrow_mut().push_back((record, turn));
            called.news.notify_one();
        }
    }
}

impl Called {
    /// The next one whose turn has come.
    pub(crate) fn next(&self) -> Option<(u32, Turn)> {
        self.turns.borrow_mut().pop_front()
    }

    /// Whether it is nobody's turn.
    pub(crate) fn is_empty(&self) -> bool {
        self.turns.borrow().is_empty()
    }

    /// Waits until it may be somebody's turn.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANE: Lane = Lane::Records(1, 7);

    #[test]
    fn a_lane_goes_from_one_to_the_next_in_the_order_of_their_coming() {
        let (turns, one, two) = (Turns::default(), Rc::default(), Rc::default());
        let first = turns.take(LANE);
        turns.wait(LANE, &one, 10);
        turns.wait(LANE, &two, 11);
        assert!(one.is_empty() && turns.is_taken(LANE));
        drop(first);
        let (record, turn) = one.next().expect("it was called");
        assert_eq!((record, turn.lane(), two.is_empty()), (10, LANE, true));
        drop(turn);
        assert_eq!(two.next().map(|(record, _)| record), Some(11));
        assert!(!turns.is_taken(LANE) && !turns.is_taken(Lane::Door(1)));
    }

    #[test]
    fn who_is_gone_is_passed_over_also_when_it_was_called_already() {
        let (turns, one, gone, two) =
            (Turns::default(), Rc::default(), Rc::<Called>::default(), Rc::default());
        let first = turns.take(LANE);
        for (called, record) in [(&gone, 1), (&one, 2), (&gone, 3), (&two, 4)] {
            turns.wait(LANE, called, record);
        }
        drop(first);
        drop(gone);
        assert_eq!(one.next().map(|(record, _)| record), Some(2));
        assert_eq!(two.next().map(|(record, _)| record), Some(4));
        assert!(!turns.is_taken(LANE));
    }
}
