//! The dead-letter budget of a pipeline: how many of its records may die before it stops.
//!
//! What counts is in the database (the offset rows have it, and a few samples over time), so that
//! neither a restart nor another instance begins anew. It is looked at once a second; what this
//! process settled since is known without, and what it is about to settle is promised before it is
//! written: all sessions of the pipeline draw on one value.

mod samples;
mod window;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use hashbrown::HashMap;
use longshore_actors::ports::Halt;

pub(crate) use self::window::{Exceeded, Tally};
use self::window::{Sample, Window};

/// How often the database is looked at while records are saved.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How much a pipeline may reject before it stops.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeadLetterBudget {
    /// The share of the last `window` settled records, above 0 and at most 1.
    pub ratio: f64,
    /// How many records that share is taken of.
    pub window: u64,
    /// Records that die within a minute.
    pub per_minute: u64,
}

impl Default for DeadLetterBudget {
    fn default() -> Self {
        Self { ratio: 0.5, window: 10_000, per_minute: 60_000 }
    }
}

/// The budget of one pipeline, shared by all of its sessions.
pub(super) struct Budget {
    pipeline: String,
    group: String,
    /// In order: a budget over other topics is another one.
    topics: Vec<String>,
    limits: DeadLetterBudget,
    begun: Instant,
    state: Mutex<State>,
}

/// What is known.
#[derive(Default)]
struct State {
    /// What each partition has come to, ours or not. These numbers only grow: the larger one is the
    /// newer one, whoever brought it.
    partitions: HashMap<(String, i32), Tally>,
    /// `None` before the first look.
    window: Option<Window>,
    renewed_at: Option<DateTime<Utc>>,
    looked_at: Option<Instant>,
    /// What transactions under way come to.
    promised: Tally,
    /// The pipeline is stopped.
    halt: Option<Halt>,
    /// How often it was stopped from here.
    stops: u64,
}

impl State {
    fn total(&self) -> Tally {
        self.partitions.values().fold(Tally::default(), |sum, one| sum.plus(*one))
    }

    fn exceeded(&self, at_ms: i64, further: Tally) -> Option<Exceeded> {
        let tally = self.total().plus(self.promised).plus(further);
        self.window.as_ref()?.exceeded(Sample { at_ms, tally })
    }
}

/// The moment before a look at the pipeline's state: what was stopped after it, it did not see.
#[derive(Clone, Copy, Debug)]
pub(super) struct BeforeLook(u64);

/// How many batches of a transaction may go.
pub(super) struct Admission<'a> {
    /// What they come to. Dropped, it counts no more.
    pub(super) promise: Promise<'a>,
    /// Which of them is the first that may not, and why.
    pub(super) left_out: Option<(usize, Halt)>,
}

/// What a transaction under way comes to if it commits.
pub(super) struct Promise<'a> {
    budget: &'a Budget,
    tally: Tally,
}

impl Budget {
    pub(super) fn new(
        (pipeline, group): (String, String),
        mut topics: Vec<String>,
        limits: DeadLetterBudget,
    ) -> Self {
        topics.sort_unstable();
        Self { pipeline, group, topics, limits, begun: Instant::now(), state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> i64 {
        i64::try_from(self.begun.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// Before the pipeline's state is asked for.
    pub(super) fn before_look(&self) -> BeforeLook {
        BeforeLook(self.lock().stops)
    }

    /// What the pipeline's state is, as a look since `before` found it: stopped too, if it was from
    /// here after that.
    pub(super) fn heard(&self, before: BeforeLook, halt: Option<Halt>) -> Option<Halt> {
        let mut state = self.lock();
        if halt.is_none() && state.stops != before.0 {
            return state.halt.clone();
        }
        let stopped = halt.clone().filter(|halt| !halt.is_paused);
        if stopped.is_none() && state.halt.is_some() {
            // Somebody let it go on, with a new budget: nothing is saved before that is known.
            (state.window, state.looked_at) = (None, None);
        }
        state.halt = stopped;
        halt
    }

    /// Goes through the batches that a transaction is to carry, each with what it is known to come
    /// to. The one that crosses the limit still goes, so that there is something to look at; those
    /// behind it do not, nor does any while another transaction is about to cross it.
    pub(super) fn admit(&self, batches: &[Tally]) -> Admission<'_> {
        let at_ms = self.now_ms();
        let mut state = self.lock();
        let mut tally = Tally::default();
        let mut halt = state.halt.clone();
        let is_promised = state.promised != Tally::default();
        let mut over = state.exceeded(at_ms, tally).filter(|_| is_promised);
        let mut left_out = None;
        for (place, batch) in batches.iter().enumerate() {
            if halt.is_none() {
                halt = over.as_ref().map(|over| self.halt(over));
            }
            if let Some(halt) = halt {
                left_out = Some((place, halt));
                break;
            }
            tally = tally.plus(*batch);
            over = state.exceeded(at_ms, tally);
        }
        state.promised = state.promised.plus(tally);
        Admission { promise: Promise { budget: self, tally }, left_out }
    }

    /// What partitions whose budget is spent are told until the database says so.
    fn halt(&self, over: &Exceeded) -> Halt {
        Halt {
            reason: format!("{} is about to be stopped: {over}", self.pipeline),
            is_paused: false,
        }
    }

    /// When it was renewed last, as far as is known.
    pub(super) fn renewed_at(&self) -> Option<DateTime<Utc>> {
        self.lock().renewed_at
    }

    /// What is known is not true any more.
    pub(super) fn look_again(&self) {
        self.lock().looked_at = None;
    }

    /// A transaction was committed: what the rows of its partitions say now, and why the pipeline
    /// is stopped by it.
    pub(super) fn committed(
        &self,
        rows: impl IntoIterator<Item = ((String, i32), Tally)>,
        stopped: Option<Halt>,
    ) {
        let at_ms = self.now_ms();
        let mut state = self.lock();
        state.take(rows);
        let now = Sample { at_ms, tally: state.total() };
        if let Some(window) = &mut state.window {
            window.note(now);
        }
        if stopped.is_some() {
            (state.halt, state.stops) = (stopped, state.stops + 1);
        }
    }
}

impl State {
    fn take(&mut self, rows: impl IntoIterator<Item = ((String, i32), Tally)>) {
        for (place, tally) in rows {
            let known = self.partitions.entry(place).or_default();
            *known = known.max(tally);
        }
    }
}

impl Promise<'_> {
    /// It is certain now what the transaction comes to; answers whether that is too much.
    pub(super) fn is_certain(&mut self, tally: Tally) -> Option<Exceeded> {
        let at_ms = self.budget.now_ms();
        let mut state = self.budget.lock();
        state.promised = state.promised.minus(self.tally).plus(tally);
        self.tally = tally;
        state.exceeded(at_ms, Tally::default())
    }
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        let mut state = self.budget.lock();
        state.promised = state.promised.minus(self.tally);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: DeadLetterBudget =
        DeadLetterBudget { ratio: 0.5, window: 1000, per_minute: 60_000 };

    fn budget() -> Budget {
        let names = ("things".to_owned(), "group".to_owned());
        let budget = Budget::new(names, vec!["t".to_owned()], LIMITS);
        let now = Sample { at_ms: 0, tally: Tally::default() };
        budget.lock().window = Some(Window::new(LIMITS, Vec::new(), now));
        budget
    }

    fn dead(dead: u64) -> Tally {
        Tally { settled: 100, dead }
    }

    fn commit(budget: &Budget, settled: u64, dead: u64) {
        budget.committed([(("t".to_owned(), 0), Tally { settled, dead })], None);
    }

    #[test]
    fn the_batch_that_crosses_the_limit_is_the_last_one() {
        let budget = budget();
        let admission = budget.admit(&[dead(100); 8]);
        assert_eq!(admission.left_out.expect("the seventh").0, 6);
        assert_eq!(admission.promise.tally, Tally { settled: 600, dead: 600 });
    }

    #[test]
    fn what_one_session_is_about_to_settle_counts_for_the_others() {
        let budget = budget();
        let one = budget.admit(&[dead(100); 4]);
        let two = budget.admit(&[dead(100), dead(100), dead(0)]);
        assert_eq!(two.left_out.as_ref().expect("the third").0, 2);
        let three = budget.admit(&[dead(0)]);
        assert_eq!(three.left_out.as_ref().expect("all").0, 0, "while another is about to cross");
        drop((one, two, three));
        assert!(budget.admit(&[dead(100); 4]).left_out.is_none(), "nothing was committed");
    }

    #[test]
    fn what_other_instances_settled_is_stopped_by_the_next_transaction_of_ours() {
        let budget = budget();
        commit(&budget, 600, 600);
        let mut admission = budget.admit(&[dead(0), dead(0)]);
        assert_eq!(admission.left_out.expect("the second").0, 1);
        assert!(admission.promise.is_certain(dead(0)).is_some(), "the first one stops it");
    }

    #[test]
    fn what_the_database_refuses_counts_before_the_commit() {
        let budget = budget();
        commit(&budget, 500, 450);
        let mut admission = budget.admit(&[dead(0)]);
        assert!(admission.left_out.is_none());
        assert!(admission.promise.is_certain(dead(40)).is_none());
        assert!(admission.promise.is_certain(dead(51)).is_some());
        drop(admission);
        assert!(budget.lock().exceeded(0, Tally::default()).is_none(), "it is not promised twice");
    }

    #[test]
    fn a_look_that_began_before_the_stop_does_not_undo_it() {
        let budget = budget();
        let before = budget.before_look();
        let halt = Halt { reason: "too many".to_owned(), is_paused: false };
        budget.committed([], Some(halt.clone()));
        assert_eq!(budget.heard(before, None), Some(halt.clone()));
        assert_eq!(budget.admit(&[dead(0)]).left_out.expect("all").1, halt);
        assert_eq!(budget.heard(budget.before_look(), None), None);
        assert!(budget.admit(&[dead(0)]).left_out.is_none(), "a person let it go on");
        assert!(budget.lock().window.is_none(), "the old window counts no more");
    }
}
