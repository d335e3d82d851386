//! Records that cannot be saved, put aside in the transaction that settles them: byte for byte.

use std::sync::LazyLock;
use std::time::Duration;

use chrono::{DateTime, Utc};
use longshore_actors::batch::WorkedBatch;
use longshore_actors::error::Reject;
use longshore_actors::parked::{ParkAs, RetryPolicy, WAITS};
use longshore_actors::record::Record;
use serde_json::Value;
use tokio_postgres::types::ToSql;

use super::super::errors::Failure;
use super::super::headers;
use super::returned::pause_ms;
use super::writer::Writer;

/// Bounds of one statement.
const RECORDS_MAX: usize = 1000;
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bounds of what is told of one record. A message may quote the record.
const REASON_CHARS_MAX: usize = 200;
const ERROR_CHARS_MAX: usize = 8000;

/// A record that is parked already (an operator moved the offset back) is parked anew.
const PARK: &str = r#"
    insert into longshore.parked_records as parked (pipeline, "group", topic, partition, "offset",
        "timestamp", key, value, headers, lane_key, state, attempts, due_at, reason, error)
    select $1, $2, v.topic, v.partition, v."offset", v.at, v.key, v.value, v.headers, v.lane_key,
        v.state, v.attempts, now() + v.pause * interval '1 millisecond', v.reason, v.error
    from unnest($3::text[], $4::int[], $5::bigint[], $6::timestamptz[], $7::bytea[], $8::bytea[],
        $9::jsonb[], $10::bytea[], $11::text[], $12::int[], $13::bigint[], $14::text[], $15::text[])
        with ordinality v(topic, partition, "offset", at, key, value, headers, lane_key, state,
            attempts, pause, reason, error, place)
    order by v.place
    on conflict ("group", topic, partition, "offset") do update set
        pipeline = excluded.pipeline, "timestamp" = excluded."timestamp", key = excluded.key,
        value = excluded.value, headers = excluded.headers, lane_key = excluded.lane_key,
        state = excluded.state, attempts = excluded.attempts, due_at = excluded.due_at,
        relayed_at = null, relay_error = null, reason = excluded.reason, error = excluded.error,
        parked_at = now(), updated_at = now()"#;

/// Why a record waits.
static WAITS_FOR: LazyLock<Reject> = LazyLock::new(|| Reject::new(WAITS, String::new()));

/// A record to park.
pub(super) struct Parked<'a> {
    worked: &'a WorkedBatch,
    record: u32,
    reject: &'a Reject,
    park: ParkAs,
}

impl<'a> Parked<'a> {
    /// Record number `record` of a batch, which the database refused.
    pub(super) fn refused(worked: &'a WorkedBatch, record: u32, reject: &'a Reject) -> Self {
        Self { worked, record, reject, park: ParkAs::Dead }
    }

    /// Record number `record` of a batch, which comes behind one of its lane that is parked.
    pub(super) fn waits(worked: &'a WorkedBatch, record: u32) -> Self {
        Self { worked, record, reject: &WAITS_FOR, park: ParkAs::Waiting }
    }

    /// The records of a batch that its workers put aside.
    pub(super) fn of(worked: &'a WorkedBatch) -> impl Iterator<Item = Self> {
        worked.chunks.iter().flat_map(|chunk| &chunk.rejections).map(move |rejection| Self {
            worked,
            record: rejection.record,
            reject: &rejection.reject,
            park: rejection.park,
        })
    }

    /// Its index in its batch.
    pub(super) fn index(&self) -> u32 {
        self.record
    }

    /// Its assignment, if it is parked for good.
    pub(super) fn dies_of(&self, policy: &RetryPolicy) -> Option<u64> {
        let is_dead = pause_ms(self.park, 1, policy).is_none();
        is_dead.then(|| self.worked.batch.fence.incarnation())
    }

    fn record(&self) -> Record<'a> {
        self.worked.batch.parcel.arena.get(self.record as usize)
    }

    fn lane(&self) -> Option<&'a [u8]> {
        self.worked.batch.lanes.get(self.record as usize)
    }

    fn place(&self) -> (&'a str, i32, i64) {
        let partition = self.worked.batch.fence.partition();
        (&partition.topic, partition.index, self.record().offset.0)
    }

    /// Its state, how often it was tried, and how long it stays away.
    fn fate(&self, policy: &RetryPolicy) -> (&'static str, i32, Option<i64>) {
        let attempts = i32::from(self.park != ParkAs::Waiting);
        match (self.park, pause_ms(self.park, 1, policy)) {
            (_, None) => ("dead", attempts, None),
            (ParkAs::Waiting, pause) => ("waiting", attempts, pause),
            (_, pause) => ("retrying", attempts, pause),
        }
    }
}

/// Whose records are parked, and how they come back.
pub(super) struct ParkOwner<'a> {
    pub(super) pipeline: &'a str,
    pub(super) group: &'a str,
    pub(super) policy: &'a RetryPolicy,
}

/// Parks `records`, in the order in which parked records are locked.
pub(super) async fn park(
    writer: &Writer<'_>,
    owner: &ParkOwner<'_>,
    mut records: Vec<Parked<'_>>,
) -> Result<(), Failure> {
    records.sort_unstable_by(|a, b| a.place().cmp(&b.place()));
    let mut rest = &records[..];
    while !rest.is_empty() {
        let (now, later) = rest.split_at(piece_of(rest));
        park_piece(writer, owner, now).await?;
        rest = later;
    }
    Ok(())
}

/// How many of `records` go into one statement: at least one.
fn piece_of(records: &[Parked<'_>]) -> usize {
    let mut bytes = 0;
    let fits = |parked: &&Parked<'_>| {
        let record = parked.record();
        bytes += record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        bytes <= BYTES_MAX
    };
    records.iter().take(RECORDS_MAX).take_while(fits).count().max(1)
}

async fn park_piece(
    writer: &Writer<'_>,
    owner: &ParkOwner<'_>,
    records: &[Parked<'_>],
) -> Result<(), Failure> {
    let places = || records.iter().map(Parked::place);
    let contents: Vec<Record<'_>> = records.iter().map(Parked::record).collect();
    let topics: Vec<&str> = places().map(|(topic, ..)| topic).collect();
    let partitions: Vec<i32> = places().map(|(_, partition, _)| partition).collect();
    let offsets: Vec<i64> = places().map(|(.., offset)| offset).collect();
    let times: Vec<Option<DateTime<Utc>>> =
        contents.iter().map(|r| r.timestamp_ms.and_then(DateTime::from_timestamp_millis)).collect();
    let keys: Vec<Option<&[u8]>> = contents.iter().map(|record| record.key).collect();
    let values: Vec<Option<&[u8]>> = contents.iter().map(|record| record.value).collect();
    let headers: Vec<Value> = contents.iter().map(|r| headers::to_json(r.headers)).collect();
    let lanes: Vec<Option<&[u8]>> = records.iter().map(Parked::lane).collect();
    let fates: Vec<_> = records.iter().map(|parked| parked.fate(owner.policy)).collect();
    let states: Vec<&str> = fates.iter().map(|(state, ..)| *state).collect();
    let attempts: Vec<i32> = fates.iter().map(|(_, attempts, _)| *attempts).collect();
    let pauses: Vec<Option<i64>> = fates.iter().map(|(.., pause)| *pause).collect();
    let told: Vec<Told> = records.iter().map(|parked| Told::of(parked.reject)).collect();
    let reasons: Vec<&str> = told.iter().map(|told| &*told.reason).collect();
    let errors: Vec<&str> = told.iter().map(|told| &*told.error).collect();
    let statement = writer.within(writer.client().prepare_cached(PARK)).await?;
    let columns: [&(dyn ToSql + Sync); 15] = [
        &owner.pipeline,
        &owner.group,
        &topics,
        &partitions,
        &offsets,
        &times,
        &keys,
        &values,
        &headers,
        &lanes,
        &states,
        &attempts,
        &pauses,
        &reasons,
        &errors,
    ];
    writer.within(writer.client().execute(&statement, &columns)).await.map(drop)
}

/// Why a record is parked, as it is written.
pub(super) struct Told {
    pub(super) reason: String,
    pub(super) error: String,
}

impl Told {
    pub(super) fn of(reject: &Reject) -> Self {
        let reason = tidy(&reject.reason, REASON_CHARS_MAX);
        Self { reason, error: tidy(&reject.error, ERROR_CHARS_MAX) }
    }
}

/// A pause as it is written.
pub(super) fn millis(pause: Duration) -> i64 {
    i64::try_from(pause.as_millis()).unwrap_or(i64::MAX)
}

/// Text that PostgreSQL can hold, and not too much of it.
fn tidy(text: &str, chars_max: usize) -> String {
    let mut chars = text.chars().map(|c| if c == '\0' { char::REPLACEMENT_CHARACTER } else { c });
    let mut tidy: String = chars.by_ref().take(chars_max).collect();
    if chars.next().is_some() {
        tidy.push('…');
    }
    tidy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_tidy() {
        assert_eq!(tidy("a\0b", 10), "a\u{fffd}b");
        assert_eq!(tidy("äöü", 2), "äö…");
    }
}
