//! Records that land as they are: what is sent, and what must then lie in the table.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use super::records::{Draft, Said, Sent};
use super::service::Service;
use super::stage::Stage;

/// A row of a table that records land in; text as its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Landed {
    pub(crate) recorded_at_ms: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
}

/// By partition and offset.
pub(crate) type Table = BTreeMap<(i32, i64), Landed>;

/// The service with one landing pipeline, `raw`, for the stage's topic.
pub(crate) fn service(stage: &Stage) -> Service {
    let quoted = |text: &str| format!("\"{text}\"");
    stage
        .bare_service()
        .set("kafka", "brokers", &quoted(&stage.servers.brokers))
        .set("database", "url", &quoted(&stage.database.url))
        .set("pipelines.raw", "kind", "\"landing\"")
        .set("pipelines.raw", "topics", &format!("[{}]", quoted(&stage.topic.name)))
        .set("pipelines.raw", "group", &quoted(&stage.group))
        .set("http", "listen", "\"127.0.0.1:0\"")
}

/// A stage with a landing table that Longshore has made.
pub(crate) fn stage(partitions: i32) -> Option<Stage> {
    let stage = Stage::empty(partitions, &[])?;
    service(&stage).migrate();
    Some(stage)
}

/// A record with this key and value, of now.
pub(crate) fn draft(partition: i32, key: Option<&[u8]>, value: Option<&[u8]>) -> Draft {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
    Draft {
        partition,
        key: key.map(<[u8]>::to_vec),
        value: value.map(<[u8]>::to_vec),
        timestamp_ms: i64::try_from(now.as_millis()).expect("a time before the year 292 million"),
        headers: Vec::new(),
        said: Said::Unreadable("lands as it is"),
    }
}

/// Many records whose values tell them apart, over all partitions.
pub(crate) fn drafts(stage: &Stage, count: usize) -> Vec<Draft> {
    let partitions = stage.topic.partitions() as usize;
    let draft = |number: usize| {
        let value = format!("{{\"number\": {number}}}");
        draft((number % partitions) as i32, Some(b"k"), Some(value.as_bytes()))
    };
    (0..count).map(draft).collect()
}

/// What must lie in the table.
pub(crate) fn expected(sent: &[Sent]) -> Table {
    let row = |sent: &Sent| {
        let Draft { partition, key, value, timestamp_ms, .. } = sent.draft.clone();
        ((partition, sent.offset), Landed { recorded_at_ms: timestamp_ms, key, value })
    };
    sent.iter().map(row).collect()
}

/// What lies in `table` of the stage's topic; panics if a record lies there twice.
pub(crate) fn landed(stage: &Stage, table: &str) -> Table {
    let bytes = |column: &str| {
        format!(
            "case pg_typeof({column})::text when 'bytea' then {column}::text::bytea \
                 else convert_to({column}::text, 'utf8') end"
        )
    };
    let sql = format!(
        "select partition, \"offset\", \
           (extract(epoch from recorded_at) * 1000000)::bigint as micros, {}, {} \
         from {table} where topic = $1",
        bytes("key"),
        bytes("value")
    );
    let mut found = Table::new();
    for row in stage.database.query(&sql, &[&stage.topic.name]) {
        let micros: i64 = row.get(2);
        assert_eq!(micros % 1000, 0, "times are whole milliseconds");
        let landed = Landed { recorded_at_ms: micros / 1000, key: row.get(3), value: row.get(4) };
        let place = (row.get(0), row.get(1));
        assert_eq!(found.insert(place, landed), None, "{place:?} lies there twice");
    }
    found
}

/// Panics unless exactly what was sent lies in `table`, and nothing is parked.
pub(crate) fn exact(stage: &Stage, table: &str, sent: &[Sent]) {
    let (found, expected) = (landed(stage, table), expected(sent));
    assert_eq!(found.len(), expected.len(), "as many rows as records");
    for (place, row) in &expected {
        assert_eq!(found.get(place), Some(row), "the record at {place:?}");
    }
    assert_eq!(stage.database.number("select count(*) from longshore.parked_records"), 0);
}

/// The reason and the error of each dead record, by partition and offset.
pub(crate) fn dead(stage: &Stage) -> BTreeMap<(i32, i64), (String, String)> {
    let sql = "select partition, \"offset\", reason, error from longshore.parked_records \
               where pipeline = 'raw' and state = 'dead'";
    let rows = stage.database.query(sql, &[]).into_iter();
    rows.map(|row| ((row.get(0), row.get(1)), (row.get(2), row.get(3)))).collect()
}
