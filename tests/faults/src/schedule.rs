//! Schedules of faults, drawn from a seed: the same seed and numbers give the same schedule.
//!
//! Each kind comes once, in drawn order, before any comes again by its weight. Faults of different
//! things may overlap; one thing has one fault at a time, and two instances are never frozen,
//! killed or away for longer than their own fault lasts.

use std::fmt;
use std::time::Duration;

use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::servers::Stop;

/// What a link leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Server {
    /// All brokers.
    Kafka,
    /// PostgreSQL.
    Database,
}

/// Something that goes wrong. What has a duration is healed after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9` of an instance; started again later.
    Kill(u32),
    /// SIGSTOP of an instance; SIGCONT later.
    Freeze(u32),
    /// An instance is frozen with batches in hand that it could not save, because its link to
    /// PostgreSQL was cut. That one heals while it stands still; the link to Kafka, by which it
    /// could know that its partitions are another's, is silent until some time after it has woken
    /// up.
    Zombie(u32),
    /// An instance's consumer threads hang for longer than it may not poll, so that Kafka takes its
    /// partitions away and nobody in it knows; its link to PostgreSQL is cut before, and heals in
    /// the end, so that there are batches in hand.
    Hang(u32),
    /// SIGTERM of an instance; started again later.
    Leave(u32),
    /// All instances but the first leave and join, one after the other, so many times.
    Storm(u32),
    /// A broker is stopped in order; started again later.
    BrokerStop(u32),
    /// `kill -9` of a broker; started again later.
    BrokerKill(u32),
    /// PostgreSQL is stopped; started again later.
    DatabaseStop(Stop),
    /// One in so many of the instances' database sessions is terminated.
    Backends(u32),
    /// PostgreSQL takes no writes, as after a failover to a replica.
    ReadOnly,
    /// All connections are taken by somebody else.
    Connections,
    /// An instance's link is cut: connections are reset.
    Cut(u32, Server),
    /// An instance's link is a black hole.
    BlackHole(u32, Server),
    /// An instance's link is slow.
    Slow(u32, Server),
    /// The next message of this kind makes an actor of an instance panic.
    Panic(u32, &'static str),
}

/// The messages at which an actor can be made to panic: the points of `longshore_actors::faults`.
pub const PANICS: [&str; 28] = [
    "Acquirer.AcquirePartitions",
    "Acquirer.Acquired",
    "ConsumerThread.Poll",
    "ContextLoader.DecodedBatch",
    "ContextLoader.Loaded",
    "HealthActor.HealthReport",
    "HealthActor.Look",
    "OwnWritesLoader.DecodedBatch",
    "OwnWritesLoader.Opened",
    "PartitionActor.BatchGivenUp",
    "PartitionActor.BatchSaved",
    "PartitionActor.BeginAgain",
    "PartitionActor.HandedInBatch",
    "PartitionActor.ClaimAnswer",
    "PartitionActor.DueRead",
    "PartitionActor.Marked",
    "PartitionActor.Reacquired",
    "PartitionActor.RowSeen",
    "PersisterActor.GroupSaved",
    "PersisterActor.Saved",
    "PersisterActor.Sweep",
    "PersisterActor.WorkedChunk",
    "PersisterActor.WorkedGroup",
    "PositionWatcher.Look",
    "WorkerActor.LoadedGroup",
    "WorkerActor.WorkChunk",
    "WorkerPool.LoadedBatch",
    "WorkerPool.LoadedGroup",
];

/// A fault, when it begins, and how long it lasts.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Since the schedule began.
    pub at: Duration,
    /// How long until it is healed; zero for what is over at once.
    pub lasts: Duration,
    /// What goes wrong.
    pub fault: Fault,
}

/// What a schedule is drawn for.
#[derive(Clone, Copy, Debug)]
pub struct Dimensions<'a> {
    /// How many faults.
    pub faults: usize,
    /// How many instances there are.
    pub instances: u32,
    /// How many brokers there are.
    pub brokers: u32,
    /// Whether actors can be made to panic.
    pub panics: bool,
    /// Only kinds whose name contains this.
    pub only: &'a str,
}

/// A kind of fault: its weight, the seconds it lasts from and to, and how it is drawn.
struct Kind {
    weight: u32,
    lasts: (f64, f64),
    draw: fn(&mut ChaCha8Rng, &Dimensions<'_>) -> Fault,
}

const NOW: (f64, f64) = (0.0, 0.0);

/// Longer than an instance's session and poll limits (`instance::config`), so that its partitions
/// are another's when it wakes up. Shorter ones are drawn, too.
const KINDS: [Kind; 21] = [
    Kind { weight: 4, lasts: (0.2, 6.0), draw: |r, d| Fault::Kill(instance(r, d)) },
    Kind { weight: 3, lasts: (1.0, 12.0), draw: |r, d| Fault::Freeze(instance(r, d)) },
    Kind { weight: 3, lasts: (5.0, 10.0), draw: |r, d| Fault::Zombie(instance(r, d)) },
    Kind { weight: 3, lasts: (8.0, 12.0), draw: |r, d| Fault::Hang(instance(r, d)) },
    Kind { weight: 3, lasts: (0.5, 6.0), draw: |r, d| Fault::Leave(instance(r, d)) },
    Kind { weight: 1, lasts: NOW, draw: |r, _| Fault::Storm(r.random_range(2..=3)) },
    Kind { weight: 1, lasts: (1.0, 6.0), draw: |r, d| Fault::BrokerStop(broker(r, d)) },
    Kind { weight: 1, lasts: (1.0, 6.0), draw: |r, d| Fault::BrokerKill(broker(r, d)) },
    Kind { weight: 1, lasts: (0.5, 6.0), draw: |_, _| Fault::DatabaseStop(Stop::Fast) },
    Kind { weight: 1, lasts: (0.5, 6.0), draw: |_, _| Fault::DatabaseStop(Stop::Immediate) },
    Kind { weight: 2, lasts: (0.5, 6.0), draw: |_, _| Fault::DatabaseStop(Stop::Kill) },
    Kind { weight: 4, lasts: NOW, draw: |r, _| Fault::Backends(r.random_range(1..=4)) },
    Kind { weight: 1, lasts: (1.0, 6.0), draw: |_, _| Fault::ReadOnly },
    Kind { weight: 1, lasts: (1.0, 6.0), draw: |_, _| Fault::Connections },
    Kind { weight: 2, lasts: (0.1, 8.0), draw: |r, d| Fault::Cut(instance(r, d), Server::Kafka) },
    Kind {
        weight: 2,
        lasts: (1.0, 14.0),
        draw: |r, d| Fault::BlackHole(instance(r, d), Server::Kafka),
    },
    Kind { weight: 1, lasts: (2.0, 8.0), draw: |r, d| Fault::Slow(instance(r, d), Server::Kafka) },
    Kind {
        weight: 2,
        lasts: (0.1, 8.0),
        draw: |r, d| Fault::Cut(instance(r, d), Server::Database),
    },
    Kind {
        weight: 2,
        lasts: (1.0, 14.0),
        draw: |r, d| Fault::BlackHole(instance(r, d), Server::Database),
    },
    Kind {
        weight: 1,
        lasts: (2.0, 8.0),
        draw: |r, d| Fault::Slow(instance(r, d), Server::Database),
    },
    Kind { weight: 6, lasts: (3.0, 5.0), draw: |r, d| Fault::Panic(instance(r, d), panic(r)) },
];

/// The pause between the beginnings of two faults, in seconds: long enough to work again.
const PAUSE: (f64, f64) = (1.0, 5.0);

/// What can have one fault at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thing {
    Instance(u32),
    Link(u32, Server),
    Server(Server),
}

/// Draws the schedule of `seed`.
pub fn draw(seed: u64, dimensions: &Dimensions<'_>) -> Vec<Step> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x0073_6368);
    let kinds = KINDS.iter().filter(|kind| is_possible(kind, dimensions)).collect::<Vec<_>>();
    let mut first = kinds.clone();
    first.shuffle(&mut rng);
    let mut busy = Vec::<(Thing, Duration)>::new();
    let (mut steps, mut at) = (Vec::new(), Duration::ZERO);
    for number in 0..dimensions.faults {
        let drawn =
            first.get(number).or_else(|| kinds.choose_weighted(&mut rng, |k| k.weight).ok());
        let Some(kind) = drawn else { break };
        let fault = (kind.draw)(&mut rng, dimensions);
        let lasts = seconds(&mut rng, kind.lasts);
        at += seconds(&mut rng, PAUSE);
        let things = things(&fault, dimensions);
        let free = busy.iter().filter(|(thing, _)| things.contains(thing)).map(|(_, until)| *until);
        at = free.max().unwrap_or_default().max(at);
        busy.extend(things.into_iter().map(|thing| (thing, at + lasts + recovery(thing))));
        steps.push(Step { at, lasts, fault });
    }
    steps
}

/// How long a schedule takes at least.
pub fn length(steps: &[Step]) -> Duration {
    steps.iter().map(|step| step.at + step.lasts).max().unwrap_or_default()
}

/// How long a thing is left alone after its fault is healed: a broker takes its time to start, an
/// instance to have partitions again.
fn recovery(thing: Thing) -> Duration {
    match thing {
        Thing::Instance(_) => Duration::from_secs(3),
        Thing::Server(Server::Kafka) => Duration::from_secs(15),
        _ => Duration::ZERO,
    }
}

fn is_possible(kind: &Kind, dimensions: &Dimensions<'_>) -> bool {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let fault = (kind.draw)(&mut rng, dimensions);
    let is_possible = match fault {
        Fault::Storm(_) => dimensions.instances > 1,
        Fault::Panic(..) => dimensions.panics,
        _ => true,
    };
    is_possible && fault.kind().contains(dimensions.only)
}

fn things(fault: &Fault, dimensions: &Dimensions<'_>) -> Vec<Thing> {
    match *fault {
        Fault::Kill(n) | Fault::Freeze(n) | Fault::Leave(n) | Fault::Panic(n, _) => {
            vec![Thing::Instance(n)]
        }
        Fault::Zombie(n) | Fault::Hang(n) => {
            let link = |to| Thing::Link(n, to);
            vec![Thing::Instance(n), link(Server::Database), link(Server::Kafka)]
        }
        Fault::Storm(_) => (1..=dimensions.instances).map(Thing::Instance).collect(),
        Fault::BrokerStop(_) | Fault::BrokerKill(_) => vec![Thing::Server(Server::Kafka)],
        Fault::DatabaseStop(_) | Fault::Backends(_) | Fault::ReadOnly | Fault::Connections => {
            vec![Thing::Server(Server::Database)]
        }
        Fault::Cut(n, to) | Fault::BlackHole(n, to) | Fault::Slow(n, to) => {
            vec![Thing::Link(n, to)]
        }
    }
}

fn instance(rng: &mut ChaCha8Rng, dimensions: &Dimensions<'_>) -> u32 {
    rng.random_range(1..=dimensions.instances)
}

fn broker(rng: &mut ChaCha8Rng, dimensions: &Dimensions<'_>) -> u32 {
    rng.random_range(1..=dimensions.brokers)
}

fn panic(rng: &mut ChaCha8Rng) -> &'static str {
    PANICS[rng.random_range(0..PANICS.len())]
}

fn seconds(rng: &mut ChaCha8Rng, (from, to): (f64, f64)) -> Duration {
    let seconds = if from < to { rng.random_range(from..to) } else { from };
    // Milliseconds, so that what is printed is what is done.
    Duration::from_millis((seconds * 1000.0) as u64)
}

impl Fault {
    /// What the table of faults calls it.
    pub fn kind(&self) -> String {
        match self {
            Self::Kill(_) => "kill -9 of an instance".to_owned(),
            Self::Freeze(_) => "SIGSTOP and SIGCONT of an instance".to_owned(),
            Self::Zombie(_) => "instance frozen with batches in hand".to_owned(),
            Self::Hang(_) => "consumer threads of an instance hung".to_owned(),
            Self::Leave(_) => "SIGTERM of an instance".to_owned(),
            Self::Storm(_) => "storm of leaving and joining".to_owned(),
            Self::BrokerStop(_) => "broker stopped".to_owned(),
            Self::BrokerKill(_) => "broker killed".to_owned(),
            Self::DatabaseStop(Stop::Fast) => "database stopped".to_owned(),
            Self::DatabaseStop(Stop::Immediate) => "database stopped at once".to_owned(),
            Self::DatabaseStop(Stop::Kill) => "database killed".to_owned(),
            Self::Backends(_) => "database sessions terminated".to_owned(),
            Self::ReadOnly => "database read-only".to_owned(),
            Self::Connections => "database without free connections".to_owned(),
            Self::Cut(_, to) => format!("link to {to} cut"),
            Self::BlackHole(_, to) => format!("link to {to} black-holed"),
            Self::Slow(_, to) => format!("link to {to} slowed"),
            Self::Panic(_, what) => format!("panic of {}", what.split('.').next().unwrap_or(what)),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kafka => "Kafka",
            Self::Database => "PostgreSQL",
        })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:8.3} s  {:?}", self.at.as_secs_f64(), self.fault)?;
        if !self.lasts.is_zero() {
            write!(f, " for {:.3} s", self.lasts.as_secs_f64())?;
        }
        Ok(())
    }
}
