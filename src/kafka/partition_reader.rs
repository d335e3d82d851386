//! One assigned partition on the consumer thread: where it is read, the batch that fills up, and
//! the door it goes through. Reads only against a ticket, and only while the house asks for more.
//!
//! Keeps its own position. librdkafka's follows errors and end-of-partition events too, and a
//! rebalance would go on from there.

use std::mem;
use std::sync::Arc;
use std::time::Instant;

use longshore_actors::arena::RecordArena;
use longshore_actors::batch::{Parcel, PolledBatch};
use longshore_actors::door::Door;
use longshore_actors::ports::{Halt, StopReason};
use longshore_actors::record::{NextOffset, PartitionId};
use longshore_actors::stages;
use longshore_actors::ticket::{Budget, Ticket};

use super::ffi::{PartitionHandle, Polled, ReadBuffer};
use super::filling::{Filling, copy};
use super::obstacle::{Obstacle, judge};
use super::read_rules::{ReadRules, Visit};
use super::status::PartitionState;

/// What a record is taken for before the first one was seen: few are read at first.
const FIRST_RECORD_BYTES: usize = 64 * 1024;
/// Errors of another place than ours in a row that are taken for stale ones.
const MISPLACED_MAX: u32 = 3;
/// The first arena of a partition.
const FIRST_ARENA_BYTES: usize = 256 * 1024;

/// One assigned partition.
pub(super) struct PartitionReader<'c> {
    door: Arc<Door>,
    handle: PartitionHandle<'c>,
    state: ReaderState,
    /// The next offset to read.
    position: NextOffset,
    /// The end of the partition as it was last looked at.
    end: Option<NextOffset>,
    /// The end of the last batch that was handed in, or the place sought.
    handed_to: NextOffset,
    seek: u64,
    filling: Option<Filling>,
    /// When the position passed offsets without a record, if nothing else tells the house of it.
    passed_at: Option<Instant>,
    record_bytes: usize,
    records_read: u64,
    left_out: u64,
    misplaced: u32,
}

/// What is done with the partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ReaderState {
    /// The house has not said yet where to read.
    Assigned,
    /// librdkafka is to fetch it from our position, whatever it did before.
    Placing,
    /// librdkafka fetches it, from a place that may not be ours any more.
    Reseeking {
        since: Instant,
    },
    Reading,
    /// Nothing is read; the house seeks again by itself when it can go on.
    Waiting(String),
    /// Nothing is read, until somebody sees to it.
    Stopped(String),
}

impl<'c> PartitionReader<'c> {
    pub(super) fn new(door: Arc<Door>, handle: PartitionHandle<'c>) -> Self {
        Self {
            door,
            handle,
            state: ReaderState::Assigned,
            position: NextOffset(0),
            end: None,
            handed_to: NextOffset(0),
            seek: 0,
            filling: None,
            passed_at: None,
            record_bytes: FIRST_RECORD_BYTES,
            records_read: 0,
            left_out: 0,
            misplaced: 0,
        }
    }

    pub(super) fn partition(&self) -> &PartitionId {
        self.door.fence().partition()
    }

    pub(super) fn incarnation(&self) -> u64 {
        self.door.fence().incarnation()
    }

    /// Nothing more is to be taken in hand, of what was parked either.
    pub(super) fn drain(&self) {
        self.door.fence().drain();
    }

    pub(super) fn state(&self) -> &ReaderState {
        &self.state
    }

    pub(super) fn position(&self) -> NextOffset {
        self.position
    }

    pub(super) fn set_end(&mut self, end: Option<NextOffset>) {
        self.end = end;
    }

    pub(super) fn end(&self) -> Option<NextOffset> {
        self.end
    }

    /// How many records are known to wait for being read, about; none while it is not read.
    pub(super) fn lag(&self) -> u64 {
        let end = self.end.filter(|_| self.state == ReaderState::Reading);
        end.map_or(0, |end| self.position.distance_to(end))
    }

    pub(super) fn records_read(&self) -> u64 {
        self.records_read
    }

    pub(super) fn records_left_out(&self) -> u64 {
        self.left_out
    }

    /// How many messages librdkafka has fetched that nobody has read, about.
    pub(super) fn waiting(&self) -> usize {
        self.handle.waiting()
    }

    pub(super) fn batches_in_hand(&self) -> usize {
        self.door.batches_in_hand()
    }

    pub(super) fn reported_state(&self) -> PartitionState {
        match &self.state {
            ReaderState::Assigned => PartitionState::Assigned,
            ReaderState::Placing | ReaderState::Reseeking { .. } => PartitionState::Seeking,
            ReaderState::Reading => PartitionState::Reading,
            ReaderState::Waiting(reason) => PartitionState::Waiting(reason.clone()),
            ReaderState::Stopped(reason) => PartitionState::Stopped(reason.clone()),
        }
    }

    /// Is to read from `position` on. What was read and not handed in is forgotten.
    pub(super) fn seek(&mut self, position: NextOffset, seek: u64) {
        (self.position, self.handed_to, self.seek) = (position, position, seek);
        (self.filling, self.passed_at, self.misplaced) = (None, None, 0);
        self.state = ReaderState::Placing;
    }

    /// Whether an error of another place is taken for one that was under way, and not for ours.
    pub(super) fn may_place_again(&mut self) -> bool {
        self.misplaced += 1;
        self.misplaced <= MISPLACED_MAX
    }

    /// Is to have librdkafka begin anew at our position.
    pub(super) fn place_again(&mut self) {
        self.state = ReaderState::Placing;
    }

    /// librdkafka fetches from our position: read on.
    pub(super) fn placed(&mut self) {
        self.state = ReaderState::Reading;
    }

    /// A rebalance put librdkafka where it believes to be: seek before the next read.
    pub(super) fn rebalanced(&mut self, now: Instant) {
        if self.state == ReaderState::Reading {
            self.state = ReaderState::Reseeking { since: now };
        }
    }

    /// Reads no more. What was read and not handed in is forgotten: it was not counted yet.
    pub(super) fn stop(&mut self, reason: &StopReason) {
        (self.filling, self.passed_at) = (None, None);
        self.state = match reason {
            StopReason::LaneFull { reason }
            | StopReason::Halted(Halt { reason, is_paused: true }) => {
                ReaderState::Waiting(reason.clone())
            }
            reason => ReaderState::Stopped(reason.to_string()),
        };
    }

    /// Whether it is assigned and not to be fetched.
    pub(super) fn is_at_rest(&self) -> bool {
        let state = &self.state;
        matches!(state, ReaderState::Assigned | ReaderState::Waiting(_) | ReaderState::Stopped(_))
    }

    /// Reads what is there and hands in what is due.
    pub(super) fn visit(
        &mut self,
        rules: &ReadRules,
        budget: &Budget,
        buffer: &mut ReadBuffer,
        now: Instant,
    ) -> Result<Visit, Obstacle> {
        let mut visit = Visit::default();
        if self.state != ReaderState::Reading {
            return Ok(visit);
        }
        if self.waiting() > 0 {
            if self.door.batches_in_hand() >= rules.batches_ahead {
                visit.pending = true;
                return Ok(visit);
            }
            match self.reserve(rules, budget) {
                Some(reserve) => match self.fill(rules, reserve, buffer, now) {
                    Ok(full) => visit.more = full,
                    Err(obstacle) => {
                        // What was read before it is good.
                        self.hand_in(budget);
                        return Err(obstacle);
                    }
                },
                None => visit.pending = true,
            }
        }
        if self.is_due(rules, now) {
            self.hand_in(budget);
        }
        visit.pending |= self.filling.is_some() || self.passed_at.is_some();
        Ok(visit)
    }

    /// A ticket for what waits and has room in the batch; more would be missed by other partitions.
    fn reserve(&self, rules: &ReadRules, budget: &Budget) -> Option<Ticket> {
        let held = self.filling.as_ref().map_or((0, 0), Filling::size);
        let (records, bytes) = self.expected(rules, held);
        budget.try_take(records as u64, bytes as u64)
    }

    /// What waits and has room beside so many records and bytes, if records are as large as before.
    fn expected(&self, rules: &ReadRules, (records, bytes): (usize, usize)) -> (usize, usize) {
        let records = rules.limits.records.saturating_sub(records).min(self.waiting());
        let room = rules.limits.bytes.saturating_sub(bytes);
        (records, records.saturating_mul(self.record_bytes).min(room))
    }

    /// Reads until the batch is full, or nothing is left, or the tickets are used. Whether it ended
    /// before nothing was left.
    fn fill(
        &mut self,
        rules: &ReadRules,
        reserve: Ticket,
        buffer: &mut ReadBuffer,
        now: Instant,
    ) -> Result<bool, Obstacle> {
        // More may have come in since the ticket was taken.
        let (mut rules, held) = (*rules, self.filling.as_ref().map_or(0, |open| open.size().0));
        rules.limits.records = held + reserve.records();
        // An open batch has a ticket for what it holds: the reserve is for what comes on top, and
        // goes home when that is written on the batch's own.
        let (mut filling, _reserve) = match self.filling.take() {
            Some(open) => (open, Some(reserve)),
            None => {
                let arena = self.new_arena(&rules);
                (Filling { arena, ticket: reserve, since: now }, None)
            }
        };
        let outcome = self.read_into(&mut filling.arena, &rules, buffer);
        if filling.arena.is_empty() {
            if self.position > self.handed_to {
                self.passed_at.get_or_insert(now);
            }
        } else {
            filling.correct();
            self.passed_at = None;
            self.filling = Some(filling);
        }
        outcome
    }

    fn new_arena(&self, rules: &ReadRules) -> RecordArena {
        let (records, bytes) = self.expected(rules, (0, 0));
        // Before the size of a record is known, a small guess that grows.
        let bytes = if self.records_read == 0 { bytes.min(FIRST_ARENA_BYTES) } else { bytes };
        RecordArena::with_capacity(records, bytes, rules.format).of(self.door.fence().partition())
    }

    fn read_into(
        &mut self,
        arena: &mut RecordArena,
        rules: &ReadRules,
        buffer: &mut ReadBuffer,
    ) -> Result<bool, Obstacle> {
        loop {
            let records_left = rules.limits.records.saturating_sub(arena.len());
            let bytes_left = rules.limits.bytes.saturating_sub(arena.num_bytes());
            if records_left == 0 || bytes_left == 0 {
                return Ok(true);
            }
            // No more than fits, as far as the records so far tell: the rest is an overdraft.
            let wanted = (bytes_left / self.record_bytes).clamp(1, ReadBuffer::MESSAGES_MAX);
            let wanted = wanted.min(records_left);
            if self.read_once(arena, buffer, wanted)? < wanted {
                return Ok(false);
            }
        }
    }

    /// One batch read. The number of messages that it took, records or not.
    fn read_once(
        &mut self,
        arena: &mut RecordArena,
        buffer: &mut ReadBuffer,
        wanted: usize,
    ) -> Result<usize, Obstacle> {
        let mut obstacle = None;
        let (position, dropped, misplaced) =
            (&mut self.position, &mut self.left_out, &mut self.misplaced);
        let (before, bytes) = (arena.len(), arena.num_bytes());
        let partition = self.door.fence().partition();
        let taken = self.handle.read(buffer, wanted, |polled| match polled {
            // Behind something that cannot be read nothing is: it will be read again.
            _ if obstacle.is_some() => {}
            Polled::Record(record) if NextOffset(record.parts.offset.0) < *position => {
                *dropped += 1;
            }
            Polled::Record(record) => {
                (*position, *misplaced) = (record.parts.offset.next(), 0);
                copy(&record, arena);
            }
            Polled::PartitionEof { position: end } => {
                (*position, *misplaced) = (end.max(*position), 0);
            }
            Polled::Error { code, offset, text } => {
                obstacle = judge(partition, *position, code, offset, &text);
            }
        });
        let copied = arena.len() - before;
        self.records_read += copied as u64;
        if let Some(size) = (arena.num_bytes() - bytes).checked_div(copied) {
            self.record_bytes = size.max(1);
        }
        obstacle.map_or(Ok(taken), Err)
    }

    fn is_due(&self, rules: &ReadRules, now: Instant) -> bool {
        match &self.filling {
            Some(filling) => {
                let (records, bytes) = filling.size();
                let full = records >= rules.limits.records || bytes >= rules.limits.bytes;
                full || rules.together || self.has_waited(rules, now)
            }
            None => {
                let waited = self.passed_at.map(|since| now.duration_since(since));
                waited.is_some_and(|waited| waited >= rules.limits.linger)
                    && self.door.batches_in_hand() < rules.batches_ahead
            }
        }
    }

    /// Whether what is read has waited for others for long enough.
    pub(super) fn has_waited(&self, rules: &ReadRules, now: Instant) -> bool {
        let since = self.filling.as_ref().map(|filling| filling.since);
        since.is_some_and(|since| now.duration_since(since) >= rules.limits.linger)
    }

    /// Hands in what is read, or the news that offsets without records were passed. Nothing if
    /// there is neither, or no ticket for an empty batch.
    pub(super) fn hand_in(&mut self, budget: &Budget) {
        let (arena, ticket) = match self.filling.take() {
            Some(mut filling) => {
                filling.arena.trim();
                filling.correct();
                stages::READ.took(filling.since.elapsed());
                (filling.arena, filling.ticket)
            }
            None if self.passed_at.is_none() => return,
            None => match budget.try_take(0, 0) {
                Some(ticket) => (RecordArena::default(), ticket),
                None => return,
            },
        };
        let (from, to) = (mem::replace(&mut self.handed_to, self.position), self.position);
        self.passed_at = None;
        stages::handed_in(arena.len());
        let parcel = Arc::new(Parcel::new(arena, ticket));
        if !self.door.submit(PolledBatch { parcel, from, to, seek: self.seek }) {
            // Whoever takes its place says where to go on.
            self.state = ReaderState::Assigned;
        }
    }
}
