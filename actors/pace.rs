//! The pace of a house: how long batches wait for company, how many records go into one
//! transaction, and how many saving sessions have one under way. Each follows what is measured,
//! between a floor and a ceiling; switched off, the ceilings hold.
//!
//! | what | floor, ceiling | follows |
//! |---|---|---|
//! | linger | [`PaceRules::linger`] | the *pressure*: the largest of three shares, see below |
//! | records | [`PaceRules::records`] | the *target*: so many that one transaction takes as long |
//! | sessions | [`PaceRules::sessions`] | the *yield*: the fewest with 95 % of the best rate |
//!
//! **Linger.** Under no pressure a batch goes at once: nothing is gained by waiting. Under full
//! pressure it waits for `linger.max`: what has to wait anyway may as well grow. The pressure is
//! the largest of
//! - the busy share of the saving sessions, over the last few hundred milliseconds (the database);
//! - the share of the tickets that is out (the queue);
//! - the share of its processors that the process uses (the CPU), if somebody measures it.
//!
//! **Records.** A transaction of `n` records that took `t` says how many fit into the target. Is it
//! over the target, that is the limit at once; is it under and the limit was in its way, the limit
//! grows towards that, twofold at most; not in its way, it grows a little if the transaction took
//! less than half of the target. What a transaction costs however small it is (a slow
//! COMMIT, the wait for a lock) is told apart by a line through the last transactions: smaller ones
//! would not be faster, so the target is at least twice that. The limit bounds batches too, so that
//! a slow database is not met with a transaction that was read when it was fast.
//!
//! **Sessions.** A window of a second or more, in which all permitted sessions were busy, gives
//! their rate: sessions by session-seconds per record. Known rates are kept for half a minute. Of
//! the known numbers of sessions the smallest with 95 % of the best rate is taken; from there one
//! more, and one fewer, is tried whenever its rate is not known. So sessions are added while they
//! bring something, and taken away when they only wait for each other. A rate of less than two
//! thirds of what the same sessions brought before means that the database became slow: half of the
//! sessions go on, and all rates are found anew. So does an outage. Without enough work for the
//! permitted sessions one more is permitted each window: nothing is known, nothing is in the way.
//!
//! A session asks for a permit before each transaction; the longest waiting one is served first. A
//! permit goes home when its transaction ended or its owner died. Nobody waits for longer than
//! eight targets: one transaction that waits for a lock, or a thread that hangs, never holds up
//! the others for good.
//!
//! **Backlog.** There is one as long as half of the tickets are out, or as many records wait at the
//! brokers as there are tickets.
//!
//! **Company.** What is ready waits until it is enough for a query or a transaction: a tenth of the
//! linger at most, for what was read together with it; with a backlog, and while half of the
//! sessions have a transaction under way, half of the target at most. So the server is asked less
//! often, for more.
//!
//! **Spread.** With a backlog, partitions are spread over all sessions. Without one, they are
//! spread over the fewest with which records are saved nearly as soon as with any: ages are found
//! as the rates above are, one fewer and one more at a time, and known for ten minutes, or until
//! they or what comes in change twofold. What comes in goes into few transactions, which costs the
//! server less than many small ones. A session whose transaction has taken eight targets gets
//! nothing on top of it.
//!
//! # Why
//! - Rates come from session-seconds per record (the gradient of the concurrency-limit algorithms,
//!   Vegas and Gradient2), not from records per second: no edge of a window cuts a transaction.
//! - Groups of own writes ([`crate::own_writes`]) hold their session from load to save, with user
//!   code between: linger and records follow, sessions do not.
//! - CPU bounds neither records nor sessions: a server without CPU left shows in the time per
//!   record, and we without CPU left show in sessions that are not busy.

mod company;
mod known;
mod law;
mod sessions;
mod spread;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

pub(crate) use self::company::{Company, Wait};
use self::law::{Load, Size};
use self::sessions::Crew;
use self::spread::Spread;
use crate::ports::SessionId;
use crate::record::PartitionId;
use crate::ticket::Budget;

/// How many targets somebody waits for a permit before it begins without one, and how many a
/// transaction takes before nothing more is sent to its session.
const PATIENCE_TARGETS: u32 = 8;

/// From this share of the tickets on that are out, there is more to do than comes in.
const BACKLOG_SHARE: f64 = 0.5;

/// A floor and a ceiling, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds<T> {
    /// The floor.
    pub min: T,
    /// The ceiling, at least the floor.
    pub max: T,
}

/// What the pace is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaceRules {
    /// The switch: `false` holds everything at its ceiling.
    pub adapts: bool,
    /// How long one transaction is to take.
    pub target: Duration,
    /// How long a batch that is not full waits for company.
    pub linger: Bounds<Duration>,
    /// Records of one transaction. A batch has no more, if its own bounds do not have it smaller.
    pub records: Bounds<usize>,
    /// Saving sessions with a transaction under way, at least 1.
    pub sessions: Bounds<usize>,
}

/// The pace at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaceNow {
    /// How long a batch that is not full waits for company.
    pub linger: Duration,
    /// Records of one transaction.
    pub records: usize,
    /// Saving sessions that may have a transaction under way.
    pub sessions: usize,
}

/// What one transaction has saved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Saved {
    /// Its records.
    pub(crate) records: usize,
    /// For how long its session had it under way.
    pub(crate) took: Duration,
    /// How long ago its records came into the house, on average.
    pub(crate) age: Duration,
}

/// The pace of one house. Cheap to clone; all clones are one pace.
#[derive(Clone, Debug)]
pub struct Pace(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    rules: PaceRules,
    budget: Budget,
    permits: Arc<Semaphore>,
    measured: Mutex<Measured>,
}

#[derive(Debug)]
struct Measured {
    load: Load,
    cpu: f64,
    /// Records that wait at the brokers.
    waiting: u64,
    size: Size,
    crew: Crew,
    spread: Spread,
    /// Since when each session has a transaction under way.
    busy_since: Vec<Option<Instant>>,
    /// Permits that are out beyond what is permitted: they end when they come home.
    excess: usize,
}

impl Shared {
    fn now(&self, measured: &mut Measured) -> PaceNow {
        let rules = &self.rules;
        let (sessions, records) = (rules.sessions.max, rules.records.max);
        if !rules.adapts {
            return PaceNow { linger: rules.linger.max, records, sessions };
        }
        let sessions = measured.sessions();
        let busy = measured.load.share(Instant::now(), sessions);
        let pressure = busy.max(self.budget.share_out()).max(measured.cpu).clamp(0.0, 1.0);
        let Bounds { min, max } = rules.linger;
        let more = max.saturating_sub(min).as_secs_f64() * pressure;
        // A ceiling of for ever is more than seconds can be counted in.
        let more = Duration::try_from_secs_f64(more).unwrap_or(max);
        let linger = min.saturating_add(more).min(max);
        PaceNow { linger, records: measured.size.records(), sessions }
    }

    fn has_backlog(&self, measured: &Measured) -> bool {
        measured.waiting >= self.budget.limits().records || self.budget.share_out() >= BACKLOG_SHARE
    }
}

impl Measured {
    /// Sessions that may have a transaction under way, and get one.
    fn sessions(&self) -> usize {
        self.crew.permitted().min(self.spread.sessions())
    }

    /// Whether half of them have one under way.
    fn is_half_busy(&self) -> bool {
        self.busy_since.iter().flatten().count() * 2 >= self.sessions()
    }
}

impl PaceRules {
    /// Records of one transaction at most, so that its locks are not held for long: about a
    /// quarter of a second of a server's time.
    pub const RECORDS_MAX: usize = 50_000;

    /// Nothing adapts, and nothing but `sessions` and [`Self::RECORDS_MAX`] is bounded.
    pub fn fixed(sessions: usize) -> Self {
        Self {
            adapts: false,
            target: Duration::from_millis(250),
            linger: Bounds { min: Duration::ZERO, max: Duration::MAX },
            records: Bounds { min: 1, max: Self::RECORDS_MAX },
            sessions: Bounds { min: 1, max: sessions },
        }
    }
}

impl Pace {
    /// A pace that begins at the ceilings; `budget` has the tickets of the house.
    pub fn new(mut rules: PaceRules, budget: Budget) -> Self {
        let now = Instant::now();
        // There is always one.
        let max = rules.sessions.max.max(1);
        rules.sessions = Bounds { min: rules.sessions.min.clamp(1, max), max };
        let measured = Measured {
            load: Load::new(now),
            cpu: 0.0,
            waiting: 0,
            size: Size::new(rules.records, rules.target),
            crew: Crew::new(rules.sessions, now),
            spread: Spread::new(rules.sessions, now),
            busy_since: vec![None; max],
            excess: 0,
        };
        let permits = Arc::new(Semaphore::new(max));
        Self(Arc::new(Shared { rules, budget, permits, measured: Mutex::new(measured) }))
    }

    /// How fast to go now. For the thread that reads too: it never waits.
    pub fn now(&self) -> PaceNow {
        self.0.now(&mut self.lock())
    }

    /// Whether there is more to do than comes in.
    pub fn has_backlog(&self) -> bool {
        self.0.has_backlog(&self.lock())
    }

    /// So many records are known to wait at the brokers.
    pub fn set_waiting(&self, records: u64) {
        self.lock().waiting = records;
    }

    /// The session that saves the next batch of `partition`.
    pub(crate) fn session_of(&self, partition: &PartitionId) -> SessionId {
        let topic: usize = partition.topic.bytes().map(usize::from).sum();
        let place = topic + partition.index.unsigned_abs() as usize;
        let patience = self.0.rules.target * PATIENCE_TARGETS;
        let measured = self.lock();
        let (pinned, all) = (place % measured.spread.sessions(), measured.busy_since.len());
        let is_stuck = |session: &usize| {
            measured.busy_since[*session].is_some_and(|since| since.elapsed() > patience)
        };
        let mut sessions = (0..all).map(|further| (pinned + further) % all);
        SessionId(sessions.find(|session| !is_stuck(session)).unwrap_or(pinned))
    }

    /// The process uses this share of its processors.
    pub fn set_cpu(&self, share: f64) {
        self.lock().cpu = share;
    }

    /// A permit, if one is free and nobody waits for it.
    pub(crate) fn try_permit(&self) -> Option<Permit> {
        let permit = self.0.permits.clone().try_acquire_owned().ok()?;
        Some(Permit { permit: Some(permit), pace: self.clone() })
    }

    /// Waits in line for a permit, but not for ever; see the module.
    pub(crate) async fn permit(self) -> Permit {
        let patience = self.0.rules.target * PATIENCE_TARGETS;
        let permit = tokio::time::timeout(patience, self.0.permits.clone().acquire_owned()).await;
        Permit { permit: permit.ok().and_then(Result::ok), pace: self }
    }

    /// `session` has a transaction under way until the answer is dropped.
    pub(crate) fn busy(&self, session: SessionId) -> Busy {
        let (mut measured, since) = (self.lock(), Instant::now());
        let sessions = measured.sessions();
        measured.load.add(since, sessions, 1);
        measured.busy_since[session.0] = Some(since);
        drop(measured);
        Busy { session, since, pace: self.clone() }
    }

    /// A session has saved a transaction.
    pub(crate) fn saved(&self, saved: Saved) {
        let has_backlog = self.has_backlog();
        let Saved { records, took, .. } = saved;
        self.adapt(|measured, now| {
            measured.size.saved(records, took);
            measured.crew.saved(now, records, took);
            measured.spread.saved(now, saved, has_backlog);
        });
    }

    /// The same, of a group that had its session before it was worked.
    pub(crate) fn group_saved(&self, records: usize, took: Duration) {
        self.adapt(|measured, _| measured.size.saved(records, took));
    }

    /// The store took too long for a transaction of `records`.
    pub(crate) fn too_slow(&self, records: usize) {
        self.adapt(|measured, now| {
            measured.size.too_slow(records);
            measured.crew.outage(now);
        });
    }

    /// The store cannot save just now.
    pub(crate) fn outage(&self) {
        self.adapt(|measured, now| measured.crew.outage(now));
    }

    fn adapt(&self, change: impl FnOnce(&mut Measured, Instant)) {
        if !self.0.rules.adapts {
            return;
        }
        let mut measured = self.lock();
        let before = measured.crew.permitted();
        change(&mut measured, Instant::now());
        let after = measured.crew.permitted();
        let taken = before.saturating_sub(after);
        measured.excess += taken - self.0.permits.forget_permits(taken);
        let given = after.saturating_sub(before);
        let kept = given.min(measured.excess);
        measured.excess -= kept;
        self.0.permits.add_permits(given - kept);
    }

    fn lock(&self) -> MutexGuard<'_, Measured> {
        self.0.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leave to have a transaction under way. Dropped, it is the next one's.
#[derive(Debug)]
pub(crate) struct Permit {
    /// `None`: its owner waited for too long.
    permit: Option<OwnedSemaphorePermit>,
    pace: Pace,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(permit) = self.permit.take() else { return };
        let mut measured = self.pace.lock();
        if measured.excess > 0 {
            measured.excess -= 1;
            permit.forget();
        }
    }
}

/// A session's transaction, while it is under way.
#[derive(Debug)]
pub(crate) struct Busy {
    session: SessionId,
    since: Instant,
    pace: Pace,
}

impl Busy {
    /// For how long it has been.
    pub(crate) fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut measured = self.pace.lock();
        let sessions = measured.sessions();
        measured.load.add(Instant::now(), sessions, -1);
        measured.busy_since[self.session.0] = None;
    }
}

#[cfg(test)]
mod tests;
