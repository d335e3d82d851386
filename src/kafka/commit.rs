//! Kafka's own committed offsets, written after the save, for lag tools. Never waited for, and
//! never the truth: that is the stored offset.

use std::time::{Duration, Instant};

use hashbrown::HashMap;
use longshore_actors::ports::CommitBoard;
use longshore_actors::record::{NextOffset, PartitionId};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::ffi;
use super::thread::CommitLimits;

/// What was saved and not committed yet.
pub(super) struct Commits {
    limits: CommitLimits,
    saved: HashMap<PartitionId, NextOffset>,
    /// Our partitions, each with what was committed of it last.
    owned: HashMap<PartitionId, Option<NextOffset>>,
    last: Instant,
    unanswered: usize,
}

impl Commits {
    pub(super) fn new(limits: CommitLimits) -> Self {
        let (saved, owned) = (HashMap::new(), HashMap::new());
        Self { limits, saved, owned, last: Instant::now(), unanswered: 0 }
    }

    /// Takes what the board has, and commits it when it is enough or has waited long enough.
    pub(super) fn tick<C: ConsumerContext>(
        &mut self,
        consumer: &BaseConsumer<C>,
        board: &CommitBoard,
        now: Instant,
    ) {
        self.take(board);
        let waited = now.duration_since(self.last) >= self.limits.interval;
        // One at a time: an unanswered one is lost at worst, and then the next interval is.
        let free = self.unanswered == 0 || now.duration_since(self.last) > Duration::from_secs(30);
        if !self.saved.is_empty() && free && (waited || self.records() >= self.limits.records) {
            self.commit(consumer);
        }
    }

    /// Commits what is saved of `partitions`, because they are about to go.
    pub(super) fn commit_now<C: ConsumerContext>(
        &mut self,
        consumer: &BaseConsumer<C>,
        board: &CommitBoard,
        partitions: &[PartitionId],
    ) {
        self.take(board);
        if self.saved.keys().any(|partition| partitions.contains(partition)) {
            self.commit(consumer);
        }
    }

    /// Commits all that is saved, because the consumer is about to close.
    pub(super) fn commit_all<C: ConsumerContext>(
        &mut self,
        consumer: &BaseConsumer<C>,
        board: &CommitBoard,
    ) {
        self.take(board);
        if !self.saved.is_empty() {
            self.commit(consumer);
        }
    }

    /// Notes a partition that is ours now.
    pub(super) fn own(&mut self, partition: &PartitionId) {
        self.owned.insert(partition.clone(), None);
    }

    /// Forgets partitions that are not ours any more: their next owner commits for them.
    pub(super) fn forget(&mut self, partitions: &[PartitionId]) {
        for partition in partitions {
            self.saved.remove(partition);
            self.owned.remove(partition);
        }
    }

    /// Notes that the brokers answered a commit, one way or the other.
    pub(super) fn answered(&mut self) {
        self.unanswered = self.unanswered.saturating_sub(1);
    }

    /// Whether no commit is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.unanswered == 0
    }

    fn take(&mut self, board: &CommitBoard) {
        let ours = board.take().into_iter().filter(|(p, _)| self.owned.contains_key(p));
        self.saved.extend(ours);
    }

    /// Offsets passed since the last commit, which are about as many records.
    fn records(&self) -> u64 {
        let of = |(partition, saved): (&PartitionId, &NextOffset)| {
            // The first position of an assignment counts from itself.
            let from = self.owned.get(partition).copied().flatten().unwrap_or(*saved);
            u64::try_from(saved.0 - from.0).unwrap_or(0)
        };
        self.saved.iter().map(of).sum()
    }

    fn commit<C: ConsumerContext>(&mut self, consumer: &BaseConsumer<C>) {
        self.last = Instant::now();
        let mut list = TopicPartitionList::with_capacity(self.saved.len());
        for (partition, saved) in self.saved.drain() {
            // Fails only for an offset below 0, which is none of ours.
            let offset = Offset::Offset(saved.0);
            let _ = list.add_partition_offset(&partition.topic, partition.index, offset);
            self.owned.insert(partition, Some(saved));
        }
        match ffi::commit(consumer, &list) {
            Ok(()) => self.unanswered += 1,
            Err(code) => tracing::debug!(%code, "the group's offsets were not sent to kafka"),
        }
    }
}
