//! Compares the whole database with the model: every row, every parked record, every offset.

use std::collections::{BTreeMap, HashSet};

use uuid::Uuid;

use super::database::Database;
use super::model::{Enriched, Model, Parked, Place};

/// Headers come as pairs of arrays, whatever their values are written as.
const PARKED: &str = r#"
    select partition, "offset", key, value, state, reason, error, pipeline,
      (extract(epoch from "timestamp") * 1000)::bigint,
      array(select header ->> 'name'
            from jsonb_array_elements(headers) with ordinality as t(header, nth) order by nth),
      array(select coalesce(decode(header ->> 'base64', 'base64'),
                            convert_to(header ->> 'value', 'UTF8'))
            from jsonb_array_elements(headers) with ordinality as t(header, nth) order by nth)
    from longshore.parked_records where "group" = $1 and topic = $2"#;

/// How many differences are told; the rest is counted.
const TOLD: usize = 8;

/// A group's view of a topic, which the stored offsets and parked records belong to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) group: &'a str,
    pub(crate) topic: &'a str,
    /// The end of each partition: the last stable offset.
    pub(crate) ends: &'a BTreeMap<i32, i64>,
}

/// Everything that is not as the model says, in sentences; none if all is well.
pub(crate) fn differences(database: &Database, source: Source<'_>, model: &Model) -> Vec<String> {
    let mut found = rows(database, model);
    found.extend(parked(database, source, model));
    found.extend(offsets(database, source));
    found
}

/// Panics unless the database is exactly as the model says.
pub(crate) fn exact(database: &Database, source: Source<'_>, model: &Model) {
    let found = differences(database, source, model);
    assert!(
        found.is_empty(),
        "{} differences from the model ({} rows, {} parked):\n  {}",
        found.len(),
        model.rows.len(),
        model.parked.len(),
        found[..found.len().min(TOLD)].join("\n  "),
    );
}

fn rows(database: &Database, model: &Model) -> Vec<String> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    for (id, row) in enriched_events(database) {
        match model.rows.get(&id) {
            None => found.push(format!("row {id} must not be there: {row:?}")),
            Some(candidates) if !candidates.contains(&row) => {
                found.push(format!("row {id} is {row:?}, but should be one of {candidates:?}"));
            }
            Some(_) => {}
        }
        if !seen.insert(id) {
            found.push(format!("row {id} is there twice"));
        }
    }
    let missing = model.rows.keys().filter(|id| !seen.contains(*id));
    found.extend(missing.map(|id| format!("row {id} is missing: {:?}", model.rows[id])));
    found
}

fn enriched_events(database: &Database) -> Vec<(Uuid, Enriched)> {
    let rows = database.query(
        "select event_id::text, kind, (extract(epoch from occurred_at) * 1000000)::bigint,
            advertiser_id, advertiser_name, campaign_id, campaign_name, user_id, placement,
            cost_micros, currency::text, billable
         from ads.enriched_events",
        &[],
    );
    rows.iter()
        .map(|row| {
            let enriched = Enriched {
                kind: known(row.get(1), &["click", "impression"]),
                occurred_micros: row.get(2),
                advertiser_id: row.get(3),
                advertiser_name: row.get(4),
                campaign_id: row.get(5),
                campaign_name: row.get(6),
                user_id: row.get(7),
                placement: row.get(8),
                cost_micros: row.get(9),
                currency: known(row.get(10), &["EUR", "USD", "JPY", "CHF"]),
                billable: row.get(11),
            };
            (row.get::<_, &str>(0).parse().expect("a uuid"), enriched)
        })
        .collect()
}

fn known(word: &str, words: &[&'static str]) -> &'static str {
    words.iter().find(|one| **one == word).copied().unwrap_or("a word of no contract")
}

fn parked(database: &Database, source: Source<'_>, model: &Model) -> Vec<String> {
    let mut found = Vec::new();
    let mut seen = HashSet::<Place>::new();
    for row in &database.query(PARKED, &[&source.group, &source.topic]) {
        let place = (row.get::<_, i32>(0), row.get::<_, i64>(1));
        seen.insert(place);
        let Some(expected) = model.parked.get(&place) else {
            let (reason, error) = (row.get::<_, &str>(5), row.get::<_, Option<&str>>(6));
            found.push(format!("{place:?} must not be parked: {reason}, {error:?}"));
            continue;
        };
        if let Some(difference) = parked_row(row, expected) {
            found.push(format!("parked {place:?}, {:?}: {difference}", expected.why));
        }
    }
    for (place, parked) in &model.parked {
        if !seen.contains(place) && !parked.may_be_a_duplicate {
            let value = parked.value.as_deref().map(String::from_utf8_lossy);
            found.push(format!("{place:?} is not parked: {:?} {value:?}", parked.why));
        }
    }
    found
}

fn parked_row(row: &postgres::Row, expected: &Parked) -> Option<String> {
    if row.get::<_, Option<&[u8]>>(2) != expected.key.as_deref() {
        return Some("another key".to_owned());
    }
    if row.get::<_, Option<&[u8]>>(3) != expected.value.as_deref() {
        return Some("another value".to_owned());
    }
    if row.get::<_, Option<i64>>(8) != Some(expected.timestamp_ms) {
        return Some("another timestamp".to_owned());
    }
    let headers = row.get::<_, Vec<String>>(9).into_iter().zip(row.get::<_, Vec<_>>(10));
    if headers.collect::<Vec<(String, Option<Vec<u8>>)>>() != expected.headers {
        return Some("other headers".to_owned());
    }
    let (state, pipeline) = (row.get::<_, &str>(4), row.get::<_, &str>(7));
    if state != "dead" || pipeline != "ads" {
        return Some(format!("state {state}, pipeline {pipeline}"));
    }
    let (reason, error) = (row.get::<_, &str>(5), row.get::<_, Option<&str>>(6));
    let story = format!("{reason}: {}", error.unwrap_or_default());
    let silent = reason.trim().is_empty() || !story.contains(expected.word);
    silent.then(|| format!("the story does not say why: {story:?}"))
}

fn offsets(database: &Database, source: Source<'_>) -> Vec<String> {
    let rows = database.query(
        "select partition, next_offset from longshore.offsets where \"group\" = $1 and topic = $2",
        &[&source.group, &source.topic],
    );
    let stored = rows.iter().map(|row| (row.get(0), row.get(1))).collect::<BTreeMap<i32, i64>>();
    let mut found = Vec::new();
    if stored.len() != rows.len() {
        found.push(format!("{} offset rows for {} partitions", rows.len(), stored.len()));
    }
    for partition in stored.keys().chain(source.ends.keys()).collect::<HashSet<_>>() {
        let (stored, end) = (stored.get(partition), source.ends.get(partition));
        if stored != end {
            found.push(format!("partition {partition} stands at {stored:?}, its end is {end:?}"));
        }
    }
    found
}
