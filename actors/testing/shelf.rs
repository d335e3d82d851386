//! The parked records of a [`super::MemoryStore`].

use std::time::Duration;

use hashbrown::HashMap;
use tokio::time::Instant;

use crate::arena::{RecordArena, RecordParts};
use crate::batch::WorkedBatch;
use crate::conservation::Settled;
use crate::format::Format;
use crate::parked::{DueBatch, ParkAs, ParkedRef, RetryPolicy, WAITS};
use crate::record::{Offset, PartitionId};

/// A parked record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShelvedRecord {
    /// Its row.
    pub id: i64,
    /// Its partition.
    pub partition: PartitionId,
    /// Its place.
    pub offset: Offset,
    /// Its lane, if it is in one.
    pub lane: Option<Vec<u8>>,
    /// Its value.
    pub value: Vec<u8>,
    /// Why.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it comes back; `None` if it is dead.
    pub due: Option<Instant>,
}

/// What `work` made of one record.
#[derive(Clone, Copy)]
pub(super) enum Made<'a> {
    Rows,
    Skip,
    Duplicate,
    Park(&'a str, ParkAs),
}

/// All parked records.
#[derive(Default)]
pub(super) struct Shelf {
    pub(super) records: Vec<ShelvedRecord>,
    pub(super) policy: RetryPolicy,
    ids: i64,
}

impl Shelf {
    /// Decides about every record of a batch that is being saved, by index: whether its rows go.
    /// What is decided is carried out only with `commit`.
    pub(super) fn settle(&mut self, worked: &WorkedBatch, commit: bool) -> (Vec<bool>, Settled) {
        let before = (!commit).then(|| self.records.clone());
        let (mut goes, mut settled) = (Vec::new(), Settled::default());
        for (index, made) in made(worked).into_iter().enumerate() {
            let parked = worked.batch.parked.as_ref().map(|rows| rows[index]);
            let had_rows = matches!(made, Made::Rows);
            let outcome = match parked {
                Some(row) => self.settle_parked(worked, row, made),
                None => Some(self.settle_read(worked, index, made)),
            };
            goes.push(had_rows && outcome.is_some_and(|outcome| outcome.saved == 1));
            settled.add(outcome.unwrap_or_default());
        }
        if let Some(before) = before {
            self.records = before;
        }
        (goes, settled)
    }

    /// Whether a batch would overfill a lane.
    pub(super) fn is_overfull(&self, worked: &WorkedBatch) -> bool {
        let mut lanes: HashMap<_, _> =
            self.lanes(worked.batch.fence.partition()).into_iter().collect();
        let mut overfills = |(index, made): (usize, Made<'_>)| {
            let Some(lane) = worked.batch.lanes.get(index) else { return false };
            let parked = lanes.entry(lane.to_vec()).or_default();
            let comes_back = matches!(made, Made::Park(_, park) if park != ParkAs::Dead);
            let parks = *parked > 0 || comes_back;
            *parked += u32::from(parks);
            parks && *parked > self.policy.lane_records
        };
        worked.batch.parked.is_none() && made(worked).into_iter().enumerate().any(&mut overfills)
    }

    fn settle_read(&mut self, worked: &WorkedBatch, index: usize, made: Made<'_>) -> Settled {
        let lane = worked.batch.lanes.get(index);
        let is_held = lane.is_some_and(|lane| self.first_of(worked, lane).is_some());
        let (reason, park) = match made {
            _ if is_held => (WAITS, ParkAs::Waiting),
            Made::Park(reason, park) => (reason, park),
            made => return settled(made),
        };
        let record = worked.batch.parcel.arena.get(index);
        self.ids += 1;
        self.records.push(ShelvedRecord {
            id: self.ids,
            partition: worked.batch.fence.partition().clone(),
            offset: record.offset,
            lane: lane.map(<[u8]>::to_vec),
            value: record.value.unwrap_or_default().to_vec(),
            reason: reason.to_owned(),
            attempts: u32::from(park != ParkAs::Waiting),
            due: self.due_at(park, 1),
        });
        Settled { parked: 1, ..Settled::default() }
    }

    /// `None`: it is not settled, and stays where it is.
    fn settle_parked(
        &mut self,
        worked: &WorkedBatch,
        row: ParkedRef,
        made: Made<'_>,
    ) -> Option<Settled> {
        let place = self.records.iter().position(|r| r.id == row.id && r.due.is_some())?;
        if let Some(lane) = self.records[place].lane.clone()
            && self.first_of(worked, &lane) != Some(place)
        {
            return None;
        }
        let Made::Park(reason, park) = made else {
            self.records.remove(place);
            return Some(settled(made));
        };
        let due = self.due_at(park, row.attempts + 1);
        if park != ParkAs::Waiting {
            let record = &mut self.records[place];
            (record.attempts, record.due) = (row.attempts + 1, due);
            record.reason = reason.to_owned();
        }
        due.is_none().then_some(Settled { parked: 1, ..Settled::default() })
    }

    fn due_at(&self, park: ParkAs, attempts: u32) -> Option<Instant> {
        let pause = match park {
            ParkAs::Dead => None,
            ParkAs::Waiting => Some(Duration::ZERO),
            ParkAs::Retrying(after) => self.policy.pause(attempts).map(|p| after.unwrap_or(p)),
        };
        pause.map(|pause| Instant::now() + pause)
    }

    /// The head of a lane of the batch's partition.
    fn first_of(&self, worked: &WorkedBatch, lane: &[u8]) -> Option<usize> {
        let partition = worked.batch.fence.partition();
        let in_lane = |record: &ShelvedRecord| {
            record.partition == *partition
                && record.lane.as_deref() == Some(lane)
                && record.due.is_some()
        };
        let places = (0..self.records.len()).filter(|place| in_lane(&self.records[*place]));
        places.min_by_key(|place| self.records[*place].offset)
    }

    /// How many records come back in each lane of a partition.
    pub(super) fn lanes(&self, partition: &PartitionId) -> Vec<(Vec<u8>, u32)> {
        let mut lanes = HashMap::new();
        for record in self.of(partition) {
            if let Some(lane) = &record.lane {
                *lanes.entry(lane.clone()).or_default() += 1;
            }
        }
        lanes.into_iter().collect()
    }

    /// Whether a record is parked and comes back.
    pub(super) fn comes_back(&self, partition: &PartitionId, offset: Offset) -> bool {
        self.of(partition).any(|record| record.offset == offset)
    }

    /// The records of a partition whose turn has come.
    pub(super) fn due(&self, partition: &PartitionId, most: usize) -> Option<DueBatch> {
        let mut all: Vec<_> = self.of(partition).collect();
        all.sort_unstable_by_key(|record| record.offset);
        let head_is_due = |record: &ShelvedRecord| {
            let lane = record.lane.as_ref();
            let head = all.iter().find(|head| lane.is_some() && head.lane.as_ref() == lane);
            head.map_or(record, |head| head).due <= Some(Instant::now())
        };
        let due: Vec<_> = all.iter().filter(|record| head_is_due(record)).take(most).collect();
        let mut arena = RecordArena::with_capacity(due.len(), 0, Format::Json).of(partition);
        for record in &due {
            let (offset, value) = (record.offset, Some(&record.value[..]));
            arena.push(RecordParts { offset, timestamp_ms: None, key: None, value });
        }
        let row = |record: &&&ShelvedRecord| ParkedRef { id: record.id, attempts: record.attempts };
        let rows: Vec<_> = due.iter().map(row).collect();
        (!rows.is_empty()).then_some(DueBatch { arena, rows })
    }

    /// The lanes that a batch touches, and how many records come back in each.
    pub(super) fn changed_lanes<'a>(&self, worked: &'a WorkedBatch) -> Vec<(&'a [u8], u32)> {
        let now: HashMap<_, _> = self.lanes(worked.batch.fence.partition()).into_iter().collect();
        let lanes = (0..worked.batch.parcel.arena.len()).filter_map(|i| worked.batch.lanes.get(i));
        lanes.map(|lane| (lane, now.get(lane).copied().unwrap_or(0))).collect()
    }

    fn of<'a>(&'a self, partition: &'a PartitionId) -> impl Iterator<Item = &'a ShelvedRecord> {
        self.records.iter().filter(move |r| r.partition == *partition && r.due.is_some())
    }
}

fn settled(made: Made<'_>) -> Settled {
    match made {
        Made::Rows => Settled { saved: 1, ..Settled::default() },
        Made::Skip => Settled { skipped: 1, ..Settled::default() },
        Made::Duplicate => Settled { duplicate: 1, ..Settled::default() },
        Made::Park(..) => Settled { parked: 1, ..Settled::default() },
    }
}

/// What `work` made of each record of a batch.
fn made(worked: &WorkedBatch) -> Vec<Made<'_>> {
    let mut made = vec![Made::Rows; worked.batch.parcel.arena.len()];
    for chunk in &worked.chunks {
        chunk.skipped.iter().for_each(|record| made[*record as usize] = Made::Skip);
        chunk.duplicate.iter().for_each(|record| made[*record as usize] = Made::Duplicate);
        for rejection in &chunk.rejections {
            made[rejection.record as usize] = Made::Park(&rejection.reject.reason, rejection.park);
        }
    }
    made
}
