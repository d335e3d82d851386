//! Which records of a transaction wait behind an earlier one of their lane. Whoever decoded and
//! worked them may not have known: this is where it counts.

use hashbrown::{HashMap, HashSet};
use longshore_actors::batch::WorkedBatch;
use longshore_actors::parked::{ParkAs, RetryPolicy};
use longshore_actors::ports::BatchReport;

use super::Claims;
use super::merge::Aside;

/// A lane of one assignment.
type Lane<'g> = (u64, &'g [u8]);

/// What the lanes of a transaction's batches come to.
#[derive(Default)]
pub(super) struct Lanes<'g> {
    /// Records whose rows are not written.
    pub(super) aside: Aside,
    /// How many records of each lane are parked after it.
    counts: HashMap<Lane<'g>, u32>,
}

impl<'g> Lanes<'g> {
    /// Goes through the batches in their order. Of those that came back, only rows in `standing` go
    /// on. A batch that would overfill a lane is left out, and so are those behind it.
    pub(super) fn check(
        group: &'g [WorkedBatch],
        claims: &mut Claims,
        standing: &HashSet<i64>,
        policy: &RetryPolicy,
    ) -> Self {
        let mut lanes = Self::default();
        let mut full = HashSet::new();
        for (number, worked) in group.iter().enumerate() {
            let incarnation = worked.batch.fence.incarnation();
            if claims[number].is_err() {
                continue;
            }
            if full.contains(&incarnation) {
                claims[number] = Err(BatchReport::Stale);
            } else if worked.batch.parked.is_some() {
                lanes.check_parked(number, worked, standing);
            } else if let Err(reason) = lanes.check_read(number, worked, policy) {
                full.insert(incarnation);
                claims[number] = Err(BatchReport::LaneFull { reason });
            }
        }
        lanes
    }

    fn check_parked(&mut self, number: usize, worked: &'g WorkedBatch, standing: &HashSet<i64>) {
        let (parks, mut held) = (parks_of(worked), HashSet::new());
        for (index, row) in (0_u32..).zip(worked.batch.parked.iter().flat_map(|rows| rows.iter())) {
            let lane = worked.batch.lanes.get(index as usize);
            let is_held = lane.is_some_and(|lane| held.contains(lane));
            if is_held || !standing.contains(&row.id) {
                self.aside.left.push((number, index));
            } else if let Some(lane) = lane.filter(|_| parks.contains_key(&index)) {
                held.insert(lane);
            }
        }
    }

    /// # Errors
    /// What to say of a lane that it would overfill.
    fn check_read(
        &mut self,
        number: usize,
        worked: &'g WorkedBatch,
        policy: &RetryPolicy,
    ) -> Result<(), String> {
        let (batch, parks) = (&worked.batch, parks_of(worked));
        if batch.lanes.is_empty()
            || (parks.is_empty() && self.counts.is_empty() && batch.fence.lanes().is_empty())
        {
            return Ok(());
        }
        let (mut waits, mut counts) = (Vec::new(), HashMap::new());
        let records = u32::try_from(batch.parcel.arena.len()).expect("tickets bound it");
        for index in 0..records {
            let Some(key) = batch.lanes.get(index as usize) else { continue };
            let lane = (batch.fence.incarnation(), key);
            let known = counts.get(&lane).or_else(|| self.counts.get(&lane)).copied();
            let parked = known.unwrap_or_else(|| batch.fence.lanes().records(key));
            let park = parks.get(&index);
            if parked == 0 && park.is_none() {
                continue;
            }
            if parked >= policy.lane_records {
                return Err(full(key, parked, batch.fence.partition()));
            }
            if parked > 0 && park != Some(&ParkAs::Waiting) {
                waits.push((number, index));
            }
            counts.insert(lane, parked + 1);
        }
        self.aside.waits.extend(waits);
        self.counts.extend(counts);
        Ok(())
    }

    /// Tells the fences, after a confirmed COMMIT.
    pub(super) fn tell(&self, group: &[WorkedBatch]) {
        for ((incarnation, key), records) in &self.counts {
            let its = |worked: &&WorkedBatch| worked.batch.fence.incarnation() == *incarnation;
            if let Some(worked) = group.iter().find(its) {
                worked.batch.fence.lanes().set(key, *records);
            }
        }
    }
}

/// The records of a batch that are parked and come back, by index.
fn parks_of(worked: &WorkedBatch) -> HashMap<u32, ParkAs> {
    let rejections = worked.chunks.iter().flat_map(|chunk| &chunk.rejections);
    let comes_back = rejections.filter(|rejection| rejection.park != ParkAs::Dead);
    comes_back.map(|rejection| (rejection.record, rejection.park)).collect()
}

fn full(key: &[u8], records: u32, partition: &impl std::fmt::Display) -> String {
    format!(
        "{partition}: {records} records of the key {:?} are parked, as many as may be \
         (retry.lane_records): nothing more of the partition is read until its first one is saved \
         or dead; `longshore parked list --state retrying` shows it",
        String::from_utf8_lossy(key)
    )
}
