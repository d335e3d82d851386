//! What happens when an actor dies, hangs or has to wait: the page of record.
//!
//! | actor | who starts it again | who sends its work again |
//! |---|---|---|
//! | ConsumerThread | the service, as a new consumer: one rejoin | Kafka, from the stored offset |
//! | PartitionActor | the consumer thread, behind a new door | the thread, from the stored offset |
//! | ContextLoader, WorkerPool | Supervisor | PartitionActor, from the records in hand |
//! | OwnWritesLoader | Supervisor | PartitionActor; the open transaction ends |
//! | WorkerActor, PersisterActor | Supervisor | PartitionActor, from the records in hand |
//! | Acquirer | Supervisor | each claim that was dropped asks again |
//! | PositionWatcher, HealthActor | Supervisor | nobody: they look again |
//! | RelayActor | Supervisor | nobody: it reads again what is not marked |
//! | a pipeline's own actors | Supervisor | PartitionActor, if `work` failed for it |
//! | Supervisor | nobody: the house ends | the next start |
//!
//! The epoch lives in the [`crate::fence::Fence`], which outlives every actor. What a dead actor
//! had in hand is dropped with it, and each [`crate::batch::Batch`] tells its partition.
//!
//! A hung thread cannot be ended. It is left behind and its actors begin anew on another one; all
//! partitions send their work again under a new attempt, so that what the hung one may still send
//! is refused. After [`HUNG_THREADS_MAX`] of them the process has to end.
//!
//! # Why not actix's own Supervisor
//! It does not see a panic: the actor is dropped while its thread unwinds, and its mailbox closes.
//! So each actor owns a [`Post`], whose drop is the news.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::Notify;

use crate::fence::Fence;
use crate::health::{ActorGone, HealthReport, Pulse, Signs};
use crate::stage::Stage;

/// Hung threads that are left behind before the process has to end.
pub const HUNG_THREADS_MAX: usize = 2;

/// Where batches go from their partition to the store.
const ON_THE_WAY: [&str; 5] =
    ["ContextLoader", "OwnWritesLoader", "WorkerPool", "WorkerActor", "PersisterActor"];

/// How often each actor reports its health.
pub const REPORT_INTERVAL: Duration = Duration::from_millis(500);

/// Which actor of a house is meant.
#[derive(Clone, Debug)]
pub enum Who {
    /// One that stands as long as the house: its type, and its number among those of its type.
    Standing(&'static str, usize),
    /// The PartitionActor of one assignment.
    Partition(Arc<Fence>),
}

impl Who {
    /// The actor's type, as in the documentation.
    pub fn actor(&self) -> &'static str {
        match self {
            Self::Standing(actor, _) => actor,
            Self::Partition(_) => "PartitionActor",
        }
    }

    /// Whether batches come to it on their way from their partition to the store.
    pub(crate) fn is_on_the_way(&self) -> bool {
        matches!(self, Self::Standing(actor, _) if ON_THE_WAY.contains(actor))
    }

    fn key(&self) -> (&'static str, u64) {
        match self {
            Self::Standing(actor, number) => (actor, *number as u64),
            Self::Partition(fence) => ("PartitionActor", fence.incarnation()),
        }
    }
}

impl PartialEq for Who {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Who {}

impl std::hash::Hash for Who {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Standing(actor, number) => write!(f, "{actor} {number}"),
            Self::Partition(fence) => write!(f, "PartitionActor {}", fence.partition()),
        }
    }
}

/// To the Supervisor: an actor panicked.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct ActorDown {
    /// Which.
    pub who: Who,
    /// Which of its lives.
    pub life: u64,
}

/// An actor that can be watched.
pub trait Watched: Actor<Context = Context<Self>> {
    /// Its post.
    fn post(&self) -> &Post;

    /// What it has in hand.
    fn signs(&self) -> Signs;
}

/// An actor's post in the house, for one of its lives: how its death is noticed, and how it
/// reports. Each actor owns one, and takes it up when it starts.
#[derive(Debug)]
pub struct Post {
    who: Who,
    life: u64,
    mailbox: usize,
    pulse: Pulse,
    end: Ender,
    office: Office,
}

/// Ends an actor from outside, at once and with everything it has in hand. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Ender(Arc<Notify>);

impl Ender {
    /// Ends it.
    pub fn end(&self) {
        self.0.notify_one();
    }
}

/// Where posts report to.
#[derive(Clone, Debug)]
pub struct Office {
    /// Hears of deaths.
    pub(crate) supervisor: Stage<ActorDown>,
    /// Hears of health.
    pub(crate) health: Stage<HealthReport>,
    /// Hears of ends.
    pub(crate) gone: Stage<ActorGone>,
}

impl Post {
    /// The post of `who`, in its life number `life`; at most `mailbox` messages are ever on the way
    /// to it.
    pub(crate) fn new(who: Who, life: u64, mailbox: usize, office: Office) -> Self {
        Self { who, life, mailbox, pulse: Pulse::default(), end: Ender::default(), office }
    }

    /// What ends the actor from outside.
    pub fn ender(&self) -> Ender {
        self.end.clone()
    }

    /// Begins to report; to be called by `started`.
    pub fn take_up<A: Watched>(&self, actor: &A, ctx: &mut Context<A>) {
        ctx.set_mailbox_capacity(self.mailbox);
        self.report(actor.signs());
        ctx.run_interval(REPORT_INTERVAL, |actor, _| actor.post().report(actor.signs()));
        let end = self.end.clone();
        let ended = async move { end.0.notified().await };
        ctx.spawn(ended.into_actor(actor).map(|(), _, ctx| ctx.terminate()));
    }

    /// The actor's pulse, for what it does between two reports.
    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    fn report(&self, signs: Signs) {
        let (who, life, pulse) = (self.who.clone(), self.life, self.pulse.clone());
        self.office.health.forward(HealthReport { who, life, signs, pulse });
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        let (who, life) = (self.who.clone(), self.life);
        self.office.gone.forward(ActorGone { who: who.clone(), life });
        if std::thread::panicking() {
            self.office.supervisor.forward(ActorDown { who, life });
        }
    }
}

/// How often an actor may be started again before its house gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartLimits {
    /// So often..
    pub restarts: usize,
    /// ..within this time.
    pub within: Duration,
}

impl Default for RestartLimits {
    fn default() -> Self {
        Self { restarts: 20, within: Duration::from_secs(60) }
    }
}

/// How a house watches over its actors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Supervision {
    /// How often an actor may be started again.
    pub restarts: RestartLimits,
    /// How long an actor may get nowhere with work of its own.
    pub stuck_after: Duration,
}

impl Default for Supervision {
    fn default() -> Self {
        Self { restarts: RestartLimits::default(), stuck_after: Duration::from_secs(60) }
    }
}

/// Pauses that double up to a limit, each with jitter, so that many waiters do not come at once.
#[derive(Clone, Debug)]
pub struct Backoff {
    pause: Duration,
    first: Duration,
    longest: Duration,
}

impl Backoff {
    /// Begins at `first` and doubles up to `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { pause: first, first, longest }
    }

    /// For a database that is away: from 50 ms to 2 s, so that work resumes soon after it is back.
    pub fn for_outage() -> Self {
        Self::new(Duration::from_millis(50), Duration::from_secs(2))
    }

    /// For an actor that died: from 10 ms to 1 s.
    pub fn for_restart() -> Self {
        Self::new(Duration::from_millis(10), Duration::from_secs(1))
    }

    /// The next pause: between half of it and all of it.
    pub fn next_pause(&mut self) -> Duration {
        let pause = self.pause.mul_f64(0.5 + 0.5 * fastrand::f64());
        self.pause = (self.pause * 2).min(self.longest);
        pause
    }

    /// Waits for the next pause.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.next_pause()).await;
    }

    /// Begins again with the shortest pause.
    pub fn reset(&mut self) {
        self.pause = self.first;
    }
}
