//! A record into a row, byte for byte: nothing is decoded, and nothing is made on the way.

use bytes::{BufMut, BytesMut};
use longshore_actors::error::{EncodeError, Unworked};
use longshore_actors::pipeline::{Order, Out, Outcome, Pipeline};
use longshore_actors::record::{Record, Unparsed};
use longshore_actors::rows::Row;

use super::columns::Columns;
use crate::config::ColumnForm;
use crate::postgres::headers;

/// 2000-01-01 UTC, where PostgreSQL's times begin, in milliseconds since 1970.
const EPOCH_MS: i64 = 946_684_800_000;

/// The end of PostgreSQL's times, the year 294277, in microseconds since 2000.
const END_MICROS: i64 = 9_223_371_331_200_000_000;

/// The length of a null.
const NULL: i32 = -1;

/// The version that the binary form of jsonb begins with.
const JSONB_VERSION: u8 = 1;

/// Lands the records of one configured pipeline in one table.
#[derive(Clone, Debug)]
pub struct Lander {
    columns: Columns,
    /// The topics, sorted: their numbers stand for them in sort keys.
    topics: Vec<String>,
}

impl Lander {
    pub(super) fn new(columns: Columns, topics: &[String]) -> Self {
        let mut topics = topics.to_vec();
        topics.sort_unstable();
        Self { columns, topics }
    }
}

impl Pipeline for Lander {
    const NAME: &'static str = "landing";
    const ORDER: Order = Order::Unordered;
    type Event<'a> = Record<'a>;
    type Context = ();
    type Rows = (LandedRow<'static>,);

    fn parse<'a>(&self, record: &Record<'a>) -> Result<Record<'a>, Unparsed> {
        Ok(*record)
    }

    fn keys(&self, _record: &Record<'_>, (): &mut ()) {}

    async fn work(
        &self,
        record: &Record<'_>,
        (): &(),
        out: &mut Out<'_, Self::Rows>,
    ) -> Result<Outcome, Unworked> {
        Ok(out.save(&LandedRow::new(record, self)))
    }
}

/// A record as a row: topic, partition, offset, time, key, value, and headers if they are wanted.
///
/// # Why it is written by hand
/// Its table is known when the program runs, not when it is compiled, and for a plain copy the
/// writing of the row is most of the work.
#[derive(Clone, Copy, Debug)]
pub struct LandedRow<'a> {
    record: &'a Record<'a>,
    lander: &'a Lander,
}

impl Row for LandedRow<'_> {
    const TABLE: &'static str = concat!(module_path!(), "::LandedRow");

    fn encode(&self, row: &mut BytesMut, key: &mut Vec<u8>) -> Result<(), EncodeError> {
        let (record, columns) = (self.record, &self.lander.columns);
        let micros = record.timestamp_ms.map(micros).transpose()?;
        row.put_i16(if columns.has_headers { 7 } else { 6 });
        put(row, Some(record.partition.topic.as_bytes()))?;
        row.put_i32(4);
        row.put_i32(record.partition.index);
        row.put_i32(8);
        row.put_i64(record.offset.0);
        match micros {
            Some(micros) => {
                row.put_i32(8);
                row.put_i64(micros);
            }
            None => row.put_i32(NULL),
        }
        put_as(row, columns.key, "key", record.key)?;
        put_as(row, columns.value, "value", record.value)?;
        if columns.has_headers {
            put_headers(row, record)?;
        }
        if columns.has_identity() {
            self.put_key(key, micros.filter(|_| columns.is_told_by_time()));
        }
        Ok(())
    }
}

impl<'a> LandedRow<'a> {
    /// The row of `record`, as `lander` writes it.
    pub(super) fn new(record: &'a Record<'a>, lander: &'a Lander) -> Self {
        Self { record, lander }
    }

    /// Appends the record's place, in 16 bytes that rows are sorted by at a glance: the topic goes
    /// by its number among the pipeline's own, and its name follows behind. Where instances read
    /// different topics into one table, numbers differ, but their order does not.
    fn put_key(&self, key: &mut Vec<u8>, micros: Option<i64>) {
        let partition = self.record.partition;
        let place = self.lander.topics.binary_search_by(|topic| (**topic).cmp(&*partition.topic));
        let number = place.unwrap_or_else(|between| between);
        key.put_u32(u32::try_from(number).expect("fewer than 4 G topics"));
        key.put_i32(partition.index);
        key.put_i64(self.record.offset.0);
        if let Some(micros) = micros {
            key.put_i64(micros);
        }
        key.put_slice(partition.topic.as_bytes());
    }
}

/// PostgreSQL's time of a record, in microseconds since 2000.
fn micros(timestamp_ms: i64) -> Result<i64, EncodeError> {
    let micros = timestamp_ms.checked_sub(EPOCH_MS).and_then(|since| since.checked_mul(1000));
    micros.filter(|micros| *micros < END_MICROS).ok_or_else(|| {
        let problem = format!("{timestamp_ms} ms since 1970 is out of PostgreSQL's range");
        EncodeError::Value { column: "recorded_at", problem }
    })
}

/// Appends a value that needs no look.
fn put(row: &mut BytesMut, value: Option<&[u8]>) -> Result<(), EncodeError> {
    let Some(value) = value else {
        row.put_i32(NULL);
        return Ok(());
    };
    row.put_i32(i32::try_from(value.len()).map_err(|_| EncodeError::TooLarge)?);
    row.put_slice(value);
    Ok(())
}

fn put_as(
    row: &mut BytesMut,
    form: ColumnForm,
    column: &'static str,
    value: Option<&[u8]>,
) -> Result<(), EncodeError> {
    if let (ColumnForm::Text, Some(value)) = (form, value) {
        check_text(column, value)?;
    }
    put(row, value)
}

/// Refuses what PostgreSQL's text cannot hold.
fn check_text(column: &'static str, text: &[u8]) -> Result<(), EncodeError> {
    let nul = memchr::memchr(0, text);
    if nul.is_none() && simdutf8::basic::from_utf8(text).is_ok() {
        return Ok(());
    }
    // The slower reader says where.
    let problem = match (std::str::from_utf8(text), nul) {
        (Ok(_), None) => return Ok(()),
        (Err(error), _) => format!("not UTF-8: {error}; a bytea column would hold it"),
        (Ok(_), Some(place)) => {
            format!(
                "a NUL character at byte {place}, which PostgreSQL's text cannot hold; bytea can"
            )
        }
    };
    Err(EncodeError::Value { column, problem })
}

/// Appends the headers in the form that [`headers`] says; those of a record without any are `[]`.
fn put_headers(row: &mut BytesMut, record: &Record<'_>) -> Result<(), EncodeError> {
    let start = row.len();
    row.put_i32(0);
    row.put_u8(JSONB_VERSION);
    headers::write_json(row, record.headers);
    let length = i32::try_from(row.len() - start - 4).map_err(|_| EncodeError::TooLarge)?;
    row[start..start + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}
