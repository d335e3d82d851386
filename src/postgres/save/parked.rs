//! Records that cannot be saved, put aside in the transaction that settles them: byte for byte.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, Utc};
use longshore_actors::batch::WorkedBatch;
use longshore_actors::error::Reject;
use longshore_actors::record::{Headers, Record};
use serde_json::{Value, json};
use tokio_postgres::types::ToSql;

use super::super::errors::Failure;
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
        "timestamp", key, value, headers, lane_key, state, attempts, reason, error)
    select $1, $2, v.topic, v.partition, v."offset", v.at, v.key, v.value, v.headers, v.lane_key,
        'dead', 1, v.reason, v.error
    from unnest($3::text[], $4::int[], $5::bigint[], $6::timestamptz[], $7::bytea[], $8::bytea[],
        $9::jsonb[], $10::bytea[], $11::text[], $12::text[])
        with ordinality v(topic, partition, "offset", at, key, value, headers, lane_key, reason,
            error, place)
    order by v.place
    on conflict ("group", topic, partition, "offset") do update set
        pipeline = excluded.pipeline, "timestamp" = excluded."timestamp", key = excluded.key,
        value = excluded.value, headers = excluded.headers, lane_key = excluded.lane_key,
        state = excluded.state, attempts = excluded.attempts, due_at = null, relayed_at = null,
        reason = excluded.reason, error = excluded.error, parked_at = now(), updated_at = now()"#;

/// A record to park.
pub(super) struct Parked<'a> {
    worked: &'a WorkedBatch,
    record: u32,
    lane_key: Option<&'a [u8]>,
    reject: &'a Reject,
}

impl<'a> Parked<'a> {
    /// Record number `record` of a batch.
    pub(super) fn new(worked: &'a WorkedBatch, record: u32, reject: &'a Reject) -> Self {
        Self { worked, record, lane_key: None, reject }
    }

    /// The records of a batch that its workers rejected.
    pub(super) fn of(worked: &'a WorkedBatch) -> impl Iterator<Item = Self> {
        worked.chunks.iter().flat_map(|chunk| &chunk.rejections).map(move |rejection| Self {
            worked,
            record: rejection.record,
            lane_key: rejection.lane_key.as_deref(),
            reject: &rejection.reject,
        })
    }

    fn record(&self) -> Record<'a> {
        self.worked.batch.parcel.arena.get(self.record as usize)
    }

    fn place(&self) -> (&'a str, i32, i64) {
        let partition = self.worked.batch.fence.partition();
        (&partition.topic, partition.index, self.record().offset.0)
    }
}

/// Parks `records`, in the order in which parked records are locked.
pub(super) async fn park(
    writer: &Writer<'_>,
    pipeline: &str,
    group: &str,
    mut records: Vec<Parked<'_>>,
) -> Result<(), Failure> {
    records.sort_unstable_by(|a, b| a.place().cmp(&b.place()));
    let mut rest = &records[..];
    while !rest.is_empty() {
        let (now, later) = rest.split_at(piece_of(rest));
        park_piece(writer, pipeline, group, now).await?;
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
    pipeline: &str,
    group: &str,
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
    let headers: Vec<Value> = contents.iter().map(|record| headers_json(record.headers)).collect();
    let lanes: Vec<Option<&[u8]>> = records.iter().map(|parked| parked.lane_key).collect();
    let reasons: Vec<String> =
        records.iter().map(|parked| tidy(&parked.reject.reason, REASON_CHARS_MAX)).collect();
    let errors: Vec<String> =
        records.iter().map(|parked| tidy(&parked.reject.error, ERROR_CHARS_MAX)).collect();
    let statement = writer.within(writer.client().prepare_cached(PARK)).await?;
    let columns: [&(dyn ToSql + Sync); 12] = [
        &pipeline,
        &group,
        &topics,
        &partitions,
        &offsets,
        &times,
        &keys,
        &values,
        &headers,
        &lanes,
        &reasons,
        &errors,
    ];
    writer.within(writer.client().execute(&statement, &columns)).await.map(drop)
}

/// Headers as an array of objects in their order: `{"name", "value"}`, where the value is null for
/// a null and the bytes as text where they are text that jsonb can hold; otherwise `"base64"`
/// stands in place of `"value"` (and `"name_base64"` in place of `"name"`).
pub fn headers_json(headers: Headers<'_>) -> Value {
    let header = |(name, value): (&[u8], Option<&[u8]>)| {
        let mut object = serde_json::Map::new();
        match text(name) {
            Some(name) => object.insert("name".to_owned(), json!(name)),
            None => object.insert("name_base64".to_owned(), json!(BASE64.encode(name))),
        };
        match value.map(|value| (text(value), value)) {
            None => object.insert("value".to_owned(), Value::Null),
            Some((Some(text), _)) => object.insert("value".to_owned(), json!(text)),
            Some((None, bytes)) => object.insert("base64".to_owned(), json!(BASE64.encode(bytes))),
        };
        Value::Object(object)
    };
    headers.map(header).collect()
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
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
    use longshore_actors::arena::{RecordArena, RecordParts};
    use longshore_actors::record::Offset;

    use super::*;

    #[test]
    fn headers_are_readable_and_lossless() {
        let mut arena = RecordArena::default();
        let offset = Offset(0);
        arena.push(RecordParts { offset, timestamp_ms: None, key: None, value: None });
        arena.push_header(b"trace", Some(b"a-1"));
        arena.push_header(b"trace", None);
        arena.push_header(b"raw", Some(b"\xff\x00"));
        arena.push_header(b"nul", Some(b"a\0"));
        arena.push_header(b"\xff", Some(b""));
        let expected = json!([
            {"name": "trace", "value": "a-1"},
            {"name": "trace", "value": null},
            {"name": "raw", "base64": "/wA="},
            {"name": "nul", "base64": "YQA="},
            {"name_base64": "/w==", "value": ""},
        ]);
        assert_eq!(headers_json(arena.get(0).headers), expected);
    }

    #[test]
    fn what_is_told_is_tidy() {
        assert_eq!(tidy("a\0b", 10), "a\u{fffd}b");
        assert_eq!(tidy("äöü", 2), "äö…");
    }
}
