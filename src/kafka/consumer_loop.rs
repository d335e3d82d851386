//! The loop of the consumer thread. Takes events, callbacks and commands; gives batches to the
//! doors; ends when it is drained, or by an error that librdkafka calls fatal.
//!
//! Each round: serve the main queue (callbacks run in here), take commands, bring librdkafka to
//! where the readers are, visit each partition once, commit what was saved. The thread waits only
//! in the main queue's poll, for no longer than a sweep may take.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use longshore_actors::faults;
use longshore_actors::ports::StopReason;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use super::assignment;
use super::errors;
use super::ffi::{self, PartitionHandle, ReadBuffer};
use super::obstacle::Obstacle;
use super::partition_reader::{PartitionReader, ReaderState};
use super::read_rules::{ReadRules, Visit};
use super::rebalance::{Change, Rebalancer};
use super::source::Command;
use super::status::PartitionStatus;
use super::thread::{ConsumerError, Drained};

/// The longest wait between two sweeps of idle partitions.
const IDLE_WAIT: Duration = Duration::from_millis(10);
/// The wait while a batch lingers or records wait for tickets: a part of the linger, between these.
/// A sweep costs much the same whether it finds ten records in each partition or a hundred. In
/// whole milliseconds: the client spins through what is left of one.
const PENDING_WAIT: Duration = Duration::from_millis(1);
const PENDING_WAIT_MAX: Duration = Duration::from_millis(4);
const PENDING_WAITS: u32 = 6;
/// The wait for an event while the consumer closes.
const CLOSE_WAIT: Duration = Duration::from_millis(10);
/// A consumer that takes longer to close is left behind: its partitions are fenced.
const CLOSE_LIMIT: Duration = Duration::from_secs(15);
/// The share of a drain's limit that the last commit may take, and its most.
const COMMIT_WAIT: Duration = Duration::from_millis(500);
/// How often the status is written, and how often brokers that were away are asked for.
const STATUS_INTERVAL: Duration = Duration::from_millis(200);
const PROBE_INTERVAL: Duration = Duration::from_secs(2);
const PROBE_TIMEOUT: Duration = Duration::from_millis(200);
/// How long a rebalance may take to follow another owner's takeover.
const FENCED_PATIENCE: Duration = Duration::from_secs(5);
/// How long the broker may take to say its range before a partition stops.
const RANGE_TIMEOUT: Duration = Duration::from_secs(1);
/// Rounds of placing before the next sweep; each event in between asks for one more.
const PLACING_ROUNDS: usize = 3;
/// Events served in a row before the loop goes on.
const EVENTS_MAX: usize = 1000;

/// Runs the consumer until it is drained or cannot go on.
pub(super) fn run(
    consumer: BaseConsumer<Rebalancer>,
    commands: &Receiver<Command>,
    rules: ReadRules,
) -> Result<Drained, ConsumerError> {
    let run = AssertUnwindSafe(|| ConsumerLoop::new(&consumer, rules).run(commands));
    let outcome = catch_unwind(run).unwrap_or_else(|_| {
        Err(ConsumerError::Fatal("its thread panicked, the story is in the log".to_owned()))
    });
    close(consumer);
    outcome
}

struct ConsumerLoop<'c> {
    consumer: &'c BaseConsumer<Rebalancer>,
    context: Arc<Rebalancer>,
    rules: ReadRules,
    readers: Vec<PartitionReader<'c>>,
    /// The partition that is visited first, one further each time.
    first: usize,
    buffer: ReadBuffer,
    drain: Option<Instant>,
    /// Assignments that another owner has fenced, and when we heard of it.
    fenced: Vec<(u64, Instant)>,
    reported_at: Instant,
    probed_at: Instant,
}

impl<'c> ConsumerLoop<'c> {
    fn new(consumer: &'c BaseConsumer<Rebalancer>, rules: ReadRules) -> Self {
        let (readers, buffer, now) = (Vec::new(), ReadBuffer::new(), Instant::now());
        let context = consumer.context().clone();
        let (reported_at, probed_at) = (now, now);
        Self {
            consumer,
            context,
            rules,
            readers,
            first: 0,
            buffer,
            drain: None,
            fenced: Vec::new(),
            reported_at,
            probed_at,
        }
    }

    fn run(mut self, commands: &Receiver<Command>) -> Result<Drained, ConsumerError> {
        let mut wait = IDLE_WAIT;
        while self.drain.is_none() {
            faults::point("ConsumerThread", "Poll");
            self.context.status.come_round();
            self.serve(wait)?;
            self.take_commands(commands);
            self.check_fenced()?;
            self.place()?;
            let rules = self.rules_now();
            let visit = self.sweep(&rules);
            self.context.commits().tick(self.consumer, self.context.front.board(), Instant::now());
            self.report();
            wait = match visit {
                Visit { more: true, .. } => Duration::ZERO,
                Visit { pending: true, .. } => pending_wait(&rules),
                Visit { .. } => IDLE_WAIT,
            };
        }
        self.finish(commands)
    }

    /// Serves the main queue until it is empty, waiting at most `wait` for its first event.
    fn serve(&mut self, wait: Duration) -> Result<(), ConsumerError> {
        let mut wait = wait;
        for _ in 0..EVENTS_MAX {
            match self.consumer.poll(wait) {
                Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                    return Err(self.fatal(code));
                }
                // Said by the context already; librdkafka goes on by itself.
                Some(Err(_)) | None => {}
                // Partitions are fetched into queues of their own: this is none of ours, and is
                // read again from our position.
                Some(Ok(_)) => tracing::debug!("a record came through the main queue"),
            }
            if ffi::events_waiting(self.consumer) == 0 {
                break;
            }
            wait = Duration::ZERO;
        }
        self.take_changes();
        match self.consumer.client().fatal_error() {
            Some((code, _)) => Err(self.fatal(code)),
            None => Ok(()),
        }
    }

    fn fatal(&self, code: RDKafkaErrorCode) -> ConsumerError {
        let text = self.consumer.client().fatal_error().map(|(_, text)| text);
        let text = text.unwrap_or_else(|| self.context.assigned().last_error.clone());
        ConsumerError::Fatal(format!("{text} ({code}); {}", errors::advice(code)))
    }

    /// Takes in what the callbacks left: partitions that came and went.
    fn take_changes(&mut self) {
        let (changes, rebalanced) = {
            let mut assigned = self.context.assigned();
            (mem::take(&mut assigned.changes), mem::take(&mut assigned.rebalanced))
        };
        for change in changes {
            match change {
                Change::Went(partition) => self.readers.retain(|r| *r.partition() != partition),
                Change::Came(door) => {
                    let partition = door.fence().partition().clone();
                    match PartitionHandle::open(self.consumer, &partition) {
                        Some(handle) => self.readers.push(PartitionReader::new(door, handle)),
                        None => tracing::error!(%partition, "librdkafka has no such partition"),
                    }
                }
            }
        }
        if rebalanced {
            let now = Instant::now();
            self.readers.iter_mut().for_each(|reader| reader.rebalanced(now));
            self.reported_at -= STATUS_INTERVAL.min(self.reported_at.elapsed());
        }
    }

    fn take_commands(&mut self, commands: &Receiver<Command>) {
        while let Ok(command) = commands.try_recv() {
            match command {
                Command::Seek { fence, position, seek } => {
                    if let Some(reader) = self.reader(fence.incarnation()) {
                        reader.seek(position, seek);
                    }
                }
                Command::Stop { fence, reason } => {
                    if matches!(reason, StopReason::Fenced { .. }) {
                        self.fenced.push((fence.incarnation(), Instant::now()));
                    }
                    if let Some(reader) = self.reader(fence.incarnation()) {
                        reader.stop(&reason);
                    }
                }
                Command::Reopen { fence } => {
                    self.context.reopen(&fence);
                    self.take_changes();
                }
                Command::Drain { limit } => {
                    self.drain.get_or_insert(Instant::now() + limit);
                }
            }
        }
    }

    /// Another owner has what Kafka assigns to us. If no rebalance says who is right, we join anew:
    /// in a cooperative group nothing else would give us a partition of ours again.
    fn check_fenced(&mut self) -> Result<(), ConsumerError> {
        let readers = &self.readers;
        self.fenced.retain(|(id, _)| readers.iter().any(|reader| reader.incarnation() == *id));
        let late = self.fenced.iter().find(|(_, since)| since.elapsed() >= FENCED_PATIENCE);
        let Some((incarnation, _)) = late.copied() else { return Ok(()) };
        let reader = self.reader(incarnation).map(|reader| reader.partition().to_string());
        let partition = reader.unwrap_or_default();
        let reason = format!("{partition} is assigned to us, and another owner has it");
        Err(ConsumerError::Fenced(reason))
    }

    /// The reader of an assignment; `None` if it has ended meanwhile.
    fn reader(&mut self, incarnation: u64) -> Option<&mut PartitionReader<'c>> {
        self.readers.iter_mut().find(|reader| reader.incarnation() == incarnation)
    }

    fn place(&mut self) -> Result<(), ConsumerError> {
        for _ in 0..PLACING_ROUNDS {
            if !assignment::place(self.consumer, &mut self.readers, Instant::now()) {
                break;
            }
            self.serve(Duration::ZERO)?;
        }
        Ok(())
    }

    /// Visits each partition once, a batch each, beginning with another one each time.
    fn sweep(&mut self, rules: &ReadRules) -> Visit {
        let mut all = Visit::default();
        let count = self.readers.len();
        self.first = (self.first + 1).checked_rem(count).unwrap_or(0);
        for index in (self.first..count).chain(0..self.first) {
            let (reader, now) = (&mut self.readers[index], Instant::now());
            let budget = self.context.front.budget();
            match reader.visit(rules, budget, &mut self.buffer, now) {
                Ok(visit) => {
                    all.more |= visit.more;
                    all.pending |= visit.pending;
                }
                Err(obstacle) => meet(self.consumer, reader, obstacle),
            }
        }
        all.pending |= self.readers.iter().any(|r| matches!(r.state(), ReaderState::Placing));
        all
    }

    /// How partitions are read just now.
    fn rules_now(&self) -> ReadRules {
        let (pace, now) = (self.context.front.pace(), Instant::now());
        pace.set_waiting(self.readers.iter().map(PartitionReader::lag).sum());
        let rules = self.rules.at(pace.now());
        // With a backlog, batches have company enough: each grows for itself.
        let together =
            !pace.has_backlog() && self.readers.iter().any(|reader| reader.has_waited(&rules, now));
        ReadRules { together, ..rules }
    }

    /// Writes the status, now and then.
    fn report(&mut self) {
        let now = Instant::now();
        if now.duration_since(self.reported_at) < STATUS_INTERVAL {
            return;
        }
        self.reported_at = now;
        let partitions = self.readers.iter_mut().map(|reader| {
            reader.set_end(ffi::cached_end(self.consumer, reader.partition()));
            let placed = !matches!(reader.state(), ReaderState::Assigned);
            let status = PartitionStatus {
                state: reader.reported_state(),
                position: placed.then(|| reader.position()),
                end: reader.end(),
                records_read: reader.records_read(),
                records_left_out: reader.records_left_out(),
            };
            (reader.partition().clone(), status)
        });
        let partitions = partitions.collect();
        let joined = self.context.assigned().joined;
        let mut problem = false;
        self.context.status.update(|status| {
            status.partitions = partitions;
            (status.joined, status.last_round) = (joined, Some(now));
            problem = status.problem.is_some();
        });
        if problem && now.duration_since(self.probed_at) >= PROBE_INTERVAL {
            self.probe();
        }
    }

    /// Nothing tells that brokers are back, or that a topic is there now, but asking.
    fn probe(&mut self) {
        self.probed_at = Instant::now();
        let topics = self.consumer.subscription().ok();
        let topic =
            topics.as_ref().and_then(|list| Some(list.elements().first()?.topic().to_owned()));
        let Ok(answer) = self.consumer.fetch_metadata(topic.as_deref(), PROBE_TIMEOUT) else {
            return;
        };
        if answer.topics().iter().all(|topic| topic.error().is_none()) {
            self.context.status.update(|status| status.problem = None);
        }
    }

    /// Hands in what is read, then waits until the house is empty or the limit is over. The rest
    /// is not counted as read, and is read again by the next owner.
    fn finish(mut self, commands: &Receiver<Command>) -> Result<Drained, ConsumerError> {
        let deadline = self.drain.unwrap_or_else(Instant::now);
        self.context.front.pace().set_waiting(0);
        for reader in &mut self.readers {
            reader.drain();
            reader.hand_in(self.context.front.budget());
        }
        while self.batches_left() > 0 && Instant::now() < deadline {
            self.context.status.come_round();
            self.serve(PENDING_WAIT)?;
            // Nobody reads any more: a seek or another drain changes nothing.
            while commands.try_recv().is_ok() {}
        }
        let batches_left = self.batches_left();
        self.context.commits().commit_all(self.consumer, self.context.front.board());
        let patience = Instant::now() + COMMIT_WAIT;
        while !self.context.commits().is_idle() && Instant::now() < patience {
            self.serve(PENDING_WAIT)?;
        }
        Ok(Drained { batches_left })
    }

    fn batches_left(&self) -> usize {
        self.readers.iter().map(PartitionReader::batches_in_hand).sum()
    }
}

fn pending_wait(rules: &ReadRules) -> Duration {
    let part = (rules.limits.linger / PENDING_WAITS).as_millis() as u64;
    Duration::from_millis(part).clamp(PENDING_WAIT, PENDING_WAIT_MAX)
}

/// A partition that cannot be read on from where it is.
fn meet(consumer: &BaseConsumer<Rebalancer>, reader: &mut PartitionReader<'_>, obstacle: Obstacle) {
    let partition = reader.partition().clone();
    let reason = match obstacle {
        Obstacle::Misplaced if reader.may_place_again() => {
            tracing::debug!(%partition, "an error of another place");
            return reader.place_again();
        }
        Obstacle::Misplaced | Obstacle::OutOfRange => {
            let (topic, index) = (&partition.topic, partition.index);
            let range = consumer.fetch_watermarks(topic, index, RANGE_TIMEOUT).ok();
            errors::out_of_range(&partition, reader.position(), range)
        }
        Obstacle::Failed(reason) => reason,
    };
    tracing::error!(%partition, reason, "a partition stopped");
    reader.stop(&StopReason::Failed { reason });
}

/// Leaves the group and drops the consumer. The readers, with their handles, are gone by now.
fn close(consumer: BaseConsumer<Rebalancer>) {
    consumer.context().assigned().closing = true;
    let deadline = Instant::now() + CLOSE_LIMIT;
    if let Err(error) = consumer.close_queue() {
        tracing::warn!(%error, "the kafka consumer does not close");
    }
    while !consumer.closed() && Instant::now() < deadline {
        let _ = consumer.poll(CLOSE_WAIT);
    }
    // A revoke is not certain to have come: let go of whatever is left.
    let doors = mem::take(&mut consumer.context().assigned().doors);
    doors.into_values().for_each(|door| door.close());
    consumer.context().assigned().changes.clear();
    consumer.context().status.update(|status| status.partitions.clear());
    if consumer.closed() {
        drop(consumer);
    } else {
        tracing::error!("the kafka consumer did not close and is left behind");
        mem::forget(consumer);
    }
}
