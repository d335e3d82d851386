//! Whatever bytes come, the parser answers; what it accepts says the same to a reader that knows
//! nothing of it.

use chrono::DateTime;
use longshore_actors::arena::{RecordArena, RecordParts};
use longshore_actors::format::Format;
use longshore_actors::pipeline::Pipeline;
use longshore_actors::record::{Offset, Unparsed};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde::de::value::{Error, StrDeserializer};
use serde_json::Value;

use super::{Ads, Kind};
use crate::pipelines::read;

/// The same cases each time, a second's worth of them.
fn runner(cases: u32) -> TestRunner {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

/// Parses `value`; what is accepted must be what [`serde_json::Value`] reads. Answers whether it
/// was.
fn is_accepted(value: &[u8]) -> Result<bool, TestCaseError> {
    let mut arena = RecordArena::with_capacity(1, 0, Format::Json);
    let said = Some(value);
    arena.push(RecordParts { offset: Offset(0), timestamp_ms: None, key: None, value: said });
    let event = match Ads.parse(&arena.get(0)) {
        Ok(event) => event,
        Err(Unparsed::Reject(why)) => {
            prop_assert!(!why.is_empty());
            return Ok(false);
        }
        Err(Unparsed::Skip(why)) => return Err(TestCaseError::fail(why)),
    };
    let read: Value = serde_json::from_slice(value)
        .map_err(|error| TestCaseError::fail(format!("accepted, but {error}")))?;
    let text = |field: &str| read[field].as_str().unwrap_or("no text").to_owned();
    prop_assert_eq!(event.event_id.to_string(), text("event_id").to_lowercase());
    let kind = if event.kind == Kind::Click { "click" } else { "impression" };
    prop_assert_eq!(kind, text("kind"));
    prop_assert_eq!(Some(event.advertiser_id), read["advertiser_id"].as_i64());
    prop_assert_eq!(Some(event.campaign_id), read["campaign_id"].as_i64());
    prop_assert_eq!(Some(event.cost_micros), read["cost_micros"].as_i64());
    prop_assert_eq!(&*event.user_id, text("user_id"));
    prop_assert_eq!(event.placement.as_deref(), read["placement"].as_str());
    let time = DateTime::parse_from_rfc3339(&text("occurred_at"));
    let time = time.map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(event.occurred_at.timestamp_micros(), time.timestamp_micros());
    Ok(true)
}

fn events() -> impl Strategy<Value = Vec<u8>> {
    let placement = prop_oneof![Just(Value::Null), "\\PC{0,8}".prop_map(Value::from)];
    let time = "20[0-3][0-9]-(0[1-9]|1[0-2])-[0-2][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]\
                (\\.[0-9]{1,9})?(Z|[+-][01][0-9]:[0-5][0-9])";
    let parts = (any::<u128>(), any::<bool>(), any::<[i64; 3]>(), "\\PC{0,8}", placement, time);
    parts.prop_map(|(id, click, [advertiser, campaign, cost], user, placement, time)| {
        let event = serde_json::json!({
            "event_id": uuid::Uuid::from_u128(id),
            "kind": if click { "click" } else { "impression" },
            "advertiser_id": advertiser, "campaign_id": campaign, "cost_micros": cost,
            "user_id": user, "placement": placement, "occurred_at": time, "more": [{"a": [true]}],
        });
        event.to_string().into_bytes()
    })
}

/// Does something to bytes at two places.
fn mutate(bytes: &mut Vec<u8>, (how, at, other, byte): (u8, usize, usize, u8)) {
    let (at, other) = (at % (bytes.len() + 1), other % (bytes.len() + 1));
    let range = at.min(other)..at.max(other);
    match how % 6 {
        0 => bytes.insert(at, byte),
        1 => drop(bytes.drain(range.start..range.end.min(range.start + 4))),
        2 => bytes.extend_from_within(range),
        3 => bytes.truncate(at.max(bytes.len() / 2)),
        4 => bytes.splice(at..at, *b"\\u0000").for_each(drop),
        _ => {
            if let Some(old) = bytes.get_mut(at) {
                *old = byte;
            }
        }
    }
}

#[test]
fn no_bytes_make_it_panic() {
    let soup =
        r#"([\[\]{}:,"\\ 0-9eE.+-]|null|true|"kind"|"click"|"event_id"|\\u[0-9a-f]{4}){0,80}"#;
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        soup.prop_map(String::into_bytes),
        soup.prop_map(|soup| format!("{{{soup}}}").into_bytes()),
    ];
    runner(6000).run(&bytes, |value| is_accepted(&value).map(drop)).unwrap();
}

#[test]
fn what_is_accepted_of_valid_events_reads_the_same() {
    let mut accepted = 0;
    for event in events().samples(500) {
        accepted += u32::from(is_accepted(&event).unwrap());
    }
    // Some of the times are none.
    assert!(accepted > 300, "{accepted} of 500");
}

#[test]
fn what_is_accepted_of_spoilt_events_reads_the_same() {
    let mutation = (any::<u8>(), any::<usize>(), any::<usize>(), any::<u8>());
    let spoilt = (events(), prop::collection::vec(mutation, 1..4)).prop_map(|(mut event, how)| {
        how.into_iter().for_each(|how| mutate(&mut event, how));
        event
    });
    let accepted = std::cell::Cell::new(0);
    let run = runner(6000).run(&spoilt, |value| {
        accepted.set(accepted.get() + u32::from(is_accepted(&value)?));
        Ok(())
    });
    run.unwrap();
    assert!(accepted.get() > 50, "{} of 6000", accepted.get());
}

#[test]
fn times_and_words_of_any_text_are_read_or_refused() {
    let times = prop_oneof![
        ".{0,40}",
        "[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{0,12})?\
         (Z|z|[+-][0-9]{2}:[0-9]{2})",
        "(0000|9999)-(01|12)-(01|31)T(00|23):(00|59):(00|59|60)(\\.9{1,9})?(Z|[+-]23:59)",
    ];
    let read = |text: String| {
        let time = read::time(StrDeserializer::<Error>::new(&text));
        let by_chrono = DateTime::parse_from_rfc3339(&text);
        prop_assert_eq!(time.is_ok(), by_chrono.is_ok());
        if let (Ok(time), Ok(by_chrono)) = (time, by_chrono) {
            prop_assert_eq!(time.timestamp_micros(), by_chrono.timestamp_micros());
            prop_assert_eq!(time.timestamp_subsec_nanos() % 1000, 0, "cut to microseconds");
        }
        let word: Result<Kind, Error> = read::word(StrDeserializer::new(&text));
        prop_assert_eq!(word.is_ok(), text == "click" || text == "impression");
        Ok(())
    };
    runner(4000).run(&times, read).unwrap();
}

/// Samples of a strategy.
trait Samples: Strategy + Sized {
    fn samples(self, count: usize) -> Vec<Self::Value> {
        let mut runner = runner(1);
        let sample = |_| self.new_tree(&mut runner).unwrap().current();
        (0..count).map(sample).collect()
    }
}

impl<S: Strategy> Samples for S {}
