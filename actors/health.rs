//! Health: what each actor says of itself, and what the HealthActor concludes.
//!
//! Every actor sends a [`HealthReport`] twice a second. One that falls silent is hung, if what it
//! was last seen at does not move either: its [`Pulse`] is shared, so that a thread that hangs in
//! user code can still be asked for the record it hangs at. One that reports work of its own
//! without progress is stuck, unless it says what it waits for.
//!
//! A partition waits for its batches, and others have them. It is stuck if it does not hear that
//! one of them is over, or if nobody on their way has had anything to do for too long.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::Message;
use hashbrown::HashMap;
use tokio::time::Instant;

use crate::record::PartitionId;
use crate::supervise::Who;

/// What an actor has in hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signs {
    /// Messages, batches or parts that it holds.
    pub in_hand: usize,
    /// Since when it has held the oldest of them.
    pub oldest: Option<Instant>,
    /// Since when it has been its own turn to act: a query or a transaction of its own is under
    /// way. `None` while it waits for others.
    pub busy: Option<Instant>,
    /// Since when others have had the oldest batch that it sent on: a partition's own sign.
    pub away: Option<Instant>,
}

/// What an actor does between two reports. Cheap to clone; all clones are one pulse.
#[derive(Clone, Debug)]
pub struct Pulse(Arc<Beats>);

#[derive(Debug)]
struct Beats {
    steps: AtomicU64,
    offset: AtomicI64,
    partition: Mutex<Option<PartitionId>>,
    waits_for: Mutex<Option<String>>,
}

/// No record.
const NONE: i64 = -1;

impl Default for Pulse {
    fn default() -> Self {
        let (partition, waits_for) = (Mutex::default(), Mutex::default());
        let (steps, offset) = (AtomicU64::new(0), AtomicI64::new(NONE));
        Self(Arc::new(Beats { steps, offset, partition, waits_for }))
    }
}

impl Pulse {
    /// Something went on.
    pub fn step(&self) {
        self.0.steps.fetch_add(1, Relaxed);
    }

    /// Begins to work on records of `partition`; nothing, if `None`.
    pub fn turn_to(&self, partition: Option<&PartitionId>) {
        self.step();
        self.0.offset.store(NONE, Relaxed);
        *lock(&self.0.partition) = partition.cloned();
    }

    /// Takes up one record.
    pub fn take_up(&self, offset: i64) {
        self.0.offset.store(offset, Relaxed);
    }

    /// Waits for somebody outside of the house, for this reason.
    pub fn waits(&self, reason: impl Into<String>) {
        *lock(&self.0.waits_for) = Some(reason.into());
    }

    /// Waits no more.
    pub fn goes_on(&self) {
        self.step();
        let mut waits_for = lock(&self.0.waits_for);
        if waits_for.is_some() {
            *waits_for = None;
        }
    }

    /// What it waits for.
    pub fn waits_for(&self) -> Option<String> {
        lock(&self.0.waits_for).clone()
    }

    /// The record that it is at, as `topic/partition, offset n`.
    pub fn place(&self) -> Option<String> {
        let partition = lock(&self.0.partition).clone()?;
        Some(match self.0.offset.load(Relaxed) {
            NONE => partition.to_string(),
            offset => format!("{partition}, offset {offset}"),
        })
    }

    /// A number that changes with everything that goes on.
    pub(crate) fn mark(&self) -> (u64, i64) {
        (self.0.steps.load(Relaxed), self.0.offset.load(Relaxed))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// To the HealthActor: an actor is alive, and this is what it has in hand.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct HealthReport {
    /// Who.
    pub who: Who,
    /// Which of its lives.
    pub life: u64,
    /// What it has in hand.
    pub signs: Signs,
    /// What it does between two reports.
    pub pulse: Pulse,
}

/// To the HealthActor: an actor ended, in whatever way.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct ActorGone {
    /// Who.
    pub who: Who,
    /// Which of its lives.
    pub life: u64,
}

/// One actor's state, for people and probes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActorHealth {
    /// Its type.
    pub actor: &'static str,
    /// Its type and which of them: a number, or its partition.
    pub name: String,
    /// What it is doing.
    pub state: ActorState,
    /// Messages, batches or parts that it holds.
    pub in_hand: usize,
    /// For how long it has held the oldest of them.
    pub oldest: Option<Duration>,
    /// How long ago something went on.
    pub last_progress: Duration,
    /// The record that it is at, if it works on one.
    pub place: Option<String>,
}

/// What an actor is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActorState {
    /// It has nothing in hand.
    Idle,
    /// It has work in hand.
    Working,
    /// It waits for somebody outside of the house, for this reason.
    Waiting(String),
    /// It has work of its own and gets nowhere: it is about to be started anew.
    Stuck,
}

/// The health of a house at one moment.
#[derive(Clone, Debug, Default)]
pub struct HouseHealth {
    /// Every actor, in the order of the way.
    pub actors: Vec<ActorHealth>,
    /// How often actors were started again, by type.
    pub restarts: HashMap<&'static str, u64>,
    /// Threads that hang and were left behind.
    pub hung_threads: usize,
    /// When somebody last looked.
    pub looked_at: Option<Instant>,
}

/// Where the health of a house is read. Cheap to clone; all clones are one board.
#[derive(Clone, Debug, Default)]
pub struct HealthBoard(Arc<Mutex<HouseHealth>>);

impl HealthBoard {
    /// The health as it was last looked at.
    pub fn snapshot(&self) -> HouseHealth {
        lock(&self.0).clone()
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut HouseHealth)) {
        change(&mut lock(&self.0));
    }
}
