//! Parked records that came back, in the transaction that settles them: what is settled leaves its
//! row, what is not keeps it.
//!
//! Whoever changes parked records of a partition has the partition's offset row locked, so that
//! nothing here needs a lock of its own.

use hashbrown::{HashMap, HashSet};
use longshore_actors::batch::WorkedBatch;
use longshore_actors::conservation::Settled;
use longshore_actors::error::Reject;
use longshore_actors::parked::{ParkAs, ParkedRef, RetryPolicy};
use tokio_postgres::types::ToSql;

use super::super::errors::Failure;
use super::Claims;
use super::merge::{Merged, State};
use super::parked::{Told, millis};
use super::writer::Writer;

/// Rows that are still to be settled, and nothing of whose lane comes before them but what comes
/// back with them.
const STANDING: &str = r#"
    select p.id
    from longshore.parked_records p
    where p.id = any($1) and p.state <> 'dead'
      and not exists (
        select from longshore.parked_records q
        where q."group" = p."group" and q.topic = p.topic and q.partition = p.partition
          and q.lane_key = p.lane_key and q.state <> 'dead' and q."offset" < p."offset"
          and q.id <> all($1))"#;

const REMOVE: &str = "delete from longshore.parked_records where id = any($1)";

const KEEP: &str = r#"
    update longshore.parked_records p
    set state = v.state, attempts = v.attempts, reason = v.reason, error = v.error,
        due_at = now() + v.pause * interval '1 millisecond', relayed_at = null,
        relay_error = null, updated_at = now()
    from unnest($1::bigint[], $2::text[], $3::int[], $4::bigint[], $5::text[], $6::text[])
        v(id, state, attempts, pause, reason, error)
    where p.id = v.id"#;

const COUNT: &str = r#"
    select v.place, count(p.id)
    from unnest($2::text[], $3::int[], $4::bytea[])
        with ordinality v(topic, partition, lane_key, place)
    left join longshore.parked_records p on p."group" = $1 and p.topic = v.topic
        and p.partition = v.partition and p.lane_key = v.lane_key and p.state <> 'dead'
    group by v.place"#;

/// Which rows of the batches that came back may be settled.
pub(super) async fn standing(
    writer: &Writer<'_>,
    group: &[WorkedBatch],
    claims: &Claims,
) -> Result<HashSet<i64>, Failure> {
    let going = group.iter().zip(claims).filter(|(_, claim)| claim.is_ok());
    let rows =
        going.flat_map(|(worked, _)| worked.batch.parked.iter().flat_map(|rows| rows.iter()));
    let ids: Vec<i64> = rows.map(|row| row.id).collect();
    if ids.is_empty() {
        return Ok(HashSet::new());
    }
    let statement = writer.within(writer.client().prepare_cached(STANDING)).await?;
    let rows = writer.within(writer.client().query(&statement, &[&ids])).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// What becomes of the rows of the batches that came back.
#[derive(Default)]
pub(super) struct Returned<'a> {
    settled: HashMap<usize, Settled>,
    done: Vec<i64>,
    kept: Vec<Kept<'a>>,
}

/// A row that stays, in another state.
struct Kept<'a> {
    row: ParkedRef,
    /// `None`: it is dead.
    pause_ms: Option<i64>,
    reject: &'a Reject,
}

impl<'a> Returned<'a> {
    /// Sorts the rows of all going batches that came back.
    pub(super) fn of(
        merged: &'a Merged<'_>,
        group: &'a [WorkedBatch],
        claims: &Claims,
        policy: &RetryPolicy,
    ) -> Self {
        let mut returned = Self::default();
        let refused: HashMap<(usize, u32), &Reject> =
            merged.refused().map(|(number, _, index, why)| ((number, index), why)).collect();
        for (number, worked) in group.iter().enumerate().filter(|(n, _)| claims[*n].is_ok()) {
            if let Some(rows) = &worked.batch.parked {
                returned.sort(merged, (number, worked, rows), &refused, policy);
            }
        }
        returned
    }

    fn sort(
        &mut self,
        merged: &Merged<'_>,
        (number, worked, rows): (usize, &'a WorkedBatch, &[ParkedRef]),
        refused: &HashMap<(usize, u32), &'a Reject>,
        policy: &RetryPolicy,
    ) {
        let rejections = worked.chunks.iter().flat_map(|chunk| &chunk.rejections);
        let parks: HashMap<u32, (&Reject, ParkAs)> =
            rejections.map(|r| (r.record, (&r.reject, r.park))).collect();
        let mut dead = 0;
        for (index, row) in (0_u32..).zip(rows) {
            let why = refused.get(&(number, index)).map(|why| (*why, ParkAs::Dead));
            match (merged.state_of(number, index), why.or_else(|| parks.get(&index).copied())) {
                (State::Left, _) | (_, Some((_, ParkAs::Waiting))) => {}
                (_, None) => self.done.push(row.id),
                (_, Some((reject, park))) => {
                    let pause_ms = pause_ms(park, row.attempts + 1, policy);
                    dead += u64::from(pause_ms.is_none());
                    self.kept.push(Kept { row: *row, pause_ms, reject });
                }
            }
        }
        let settled = Settled { parked: dead, ..merged.settled(number) };
        self.settled.insert(number, settled);
    }

    /// How the records of batch number `number` are settled, if it came back.
    pub(super) fn settled(&self, number: usize) -> Option<Settled> {
        self.settled.get(&number).copied()
    }

    /// Writes it.
    pub(super) async fn write(&self, writer: &Writer<'_>) -> Result<(), Failure> {
        if !self.done.is_empty() {
            let statement = writer.within(writer.client().prepare_cached(REMOVE)).await?;
            writer.within(writer.client().execute(&statement, &[&self.done])).await?;
        }
        if self.kept.is_empty() {
            return Ok(());
        }
        let ids: Vec<i64> = self.kept.iter().map(|kept| kept.row.id).collect();
        let state = |kept: &Kept<'_>| if kept.pause_ms.is_some() { "retrying" } else { "dead" };
        let states: Vec<&str> = self.kept.iter().map(state).collect();
        let attempts = self.kept.iter().map(|kept| kept.row.attempts + 1);
        let attempts: Vec<i32> = attempts.map(|n| i32::try_from(n).unwrap_or(i32::MAX)).collect();
        let pauses: Vec<Option<i64>> = self.kept.iter().map(|kept| kept.pause_ms).collect();
        let told: Vec<Told> = self.kept.iter().map(|kept| Told::of(kept.reject)).collect();
        let reasons: Vec<&str> = told.iter().map(|told| &*told.reason).collect();
        let errors: Vec<&str> = told.iter().map(|told| &*told.error).collect();
        let statement = writer.within(writer.client().prepare_cached(KEEP)).await?;
        let columns: [&(dyn ToSql + Sync); 6] =
            [&ids, &states, &attempts, &pauses, &reasons, &errors];
        writer.within(writer.client().execute(&statement, &columns)).await.map(drop)
    }
}

/// How long a record that is parked `park` stays away after `attempts` attempts, in milliseconds;
/// `None`: for ever.
pub(super) fn pause_ms(park: ParkAs, attempts: u32, policy: &RetryPolicy) -> Option<i64> {
    match park {
        ParkAs::Dead => None,
        ParkAs::Waiting => Some(0),
        ParkAs::Retrying(after) => {
            policy.pause(attempts).map(|pause| millis(after.unwrap_or(pause)))
        }
    }
}

/// A lane that came back, and how many records of it are parked now.
pub(super) type LaneLeft<'g> = (&'g WorkedBatch, &'g [u8], u32);

/// Counts what is left of the lanes that came back.
pub(super) async fn lanes_left<'g>(
    writer: &Writer<'_>,
    name: &str,
    group: &'g [WorkedBatch],
    claims: &Claims,
) -> Result<Vec<LaneLeft<'g>>, Failure> {
    let mut lanes: Vec<LaneLeft<'g>> = Vec::new();
    let mut seen = HashSet::new();
    for (worked, claim) in group.iter().zip(claims) {
        let rows = worked.batch.parked.as_ref().filter(|_| claim.is_ok()).map_or(0, |r| r.len());
        for key in (0..rows).filter_map(|index| worked.batch.lanes.get(index)) {
            if seen.insert((worked.batch.fence.incarnation(), key)) {
                lanes.push((worked, key, 0));
            }
        }
    }
    if lanes.is_empty() {
        return Ok(lanes);
    }
    let place = |lane: &LaneLeft<'g>| lane.0.batch.fence.partition().clone();
    let places: Vec<_> = lanes.iter().map(place).collect();
    let topics: Vec<&str> = places.iter().map(|place| &*place.topic).collect();
    let partitions: Vec<i32> = places.iter().map(|place| place.index).collect();
    let keys: Vec<&[u8]> = lanes.iter().map(|(_, key, _)| *key).collect();
    let statement = writer.within(writer.client().prepare_cached(COUNT)).await?;
    let columns: [&(dyn ToSql + Sync); 4] = [&name, &topics, &partitions, &keys];
    for row in writer.within(writer.client().query(&statement, &columns)).await? {
        let (place, records): (i64, i64) = (row.get(0), row.get(1));
        let lane = usize::try_from(place - 1).ok().and_then(|place| lanes.get_mut(place));
        if let Some((.., left)) = lane {
            *left = u32::try_from(records).unwrap_or(u32::MAX);
        }
    }
    Ok(lanes)
}
