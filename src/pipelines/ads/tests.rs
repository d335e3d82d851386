//! What becomes of each kind of event, without a database.

use std::sync::Arc;

use longshore_actors::arena::{RecordArena, RecordParts};
use longshore_actors::batch::WorkedBatch;
use longshore_actors::fence::Fence;
use longshore_actors::format::Format;
use longshore_actors::pipeline::Pipeline;
use longshore_actors::record::{NextOffset, Offset, PartitionId, Unparsed};
use longshore_actors::rows::Row;
use longshore_actors::testing::{Given, home, work};
use serde_json::{Value, json};

use super::pipeline::Ads;
use super::tables::{Advertiser, Campaign, EnrichedEvent, Known};
use crate::postgres::row::Tables;

fn event() -> Value {
    json!({
        "event_id": "5f0c1f5e-3b1e-4a57-9d5c-7a1f0d3b2c10", "kind": "click",
        "advertiser_id": 1, "campaign_id": 10, "user_id": "u-1", "placement": "top",
        "cost_micros": 250, "occurred_at": "2026-11-21T12:00:00.1234567+01:00", "more": [1, 2],
    })
}

fn with(field: &str, value: Value) -> String {
    let mut event = event();
    event[field] = value;
    event.to_string()
}

fn without(field: &str) -> String {
    let mut event = event();
    event.as_object_mut().unwrap().remove(field);
    event.to_string()
}

fn parse(value: Option<&str>) -> Result<String, Unparsed> {
    let mut arena = RecordArena::with_capacity(1, 0, Format::Json);
    let value = value.map(str::as_bytes);
    arena.push(RecordParts { offset: Offset(0), timestamp_ms: None, key: None, value });
    Ads.parse(&arena.get(0)).map(|event| format!("{event:?}"))
}

fn rejected(value: &str) -> String {
    match parse(Some(value)) {
        Err(Unparsed::Reject(error)) => error,
        other => panic!("{value} is not rejected: {other:?}"),
    }
}

fn known() -> Known {
    let advertiser = |status: &str| Advertiser {
        name: "Acme".into(),
        status: status.into(),
        currency: "EUR".into(),
    };
    let campaign = |advertiser_id, status: &str| Campaign {
        advertiser_id,
        name: "Spring".into(),
        status: status.into(),
    };
    Known {
        advertisers: [(1, advertiser("active")), (2, advertiser("paused"))].into_iter().collect(),
        campaigns: [
            (10, campaign(1, "active")),
            (11, campaign(1, "paused")),
            (20, campaign(2, "active")),
        ]
        .into_iter()
        .collect(),
        ..Known::default()
    }
}

fn worked(known: &Known, value: &str) -> WorkedBatch {
    let fence = Arc::new(Fence::new(PartitionId::new("ads.events", 0)));
    fence.hold(1, NextOffset(0));
    let values = vec![Some(value.as_bytes().to_vec())];
    let given = Given { fence: &fence, from: 0, to: 1, values, pieces: 1, by_key: false };
    work(&Ads, known, &given, home())
}

fn reason(value: &str) -> String {
    let worked = worked(&known(), value);
    let [rejection] = &worked.chunks[0].rejections[..] else { panic!("{value} is not rejected") };
    rejection.reject.to_string()
}

#[test]
fn an_event_is_read_and_its_time_is_cut_to_microseconds() {
    let event = parse(Some(&event().to_string())).unwrap();
    assert!(event.contains("occurred_at: 2026-11-21T11:00:00.123456Z"), "{event}");
    assert!(event.contains("Borrowed") || event.contains("\"u-1\""), "{event}");
    let early = parse(Some(&with("occurred_at", json!("1999-12-31T23:59:59.9999999Z")))).unwrap();
    assert!(early.contains("1999-12-31T23:59:59.999999Z"), "{early}");
}

#[test]
fn a_tombstone_is_skipped() {
    assert_eq!(parse(None), Err(Unparsed::Skip("tombstone")));
}

#[test]
fn a_placement_may_be_null_or_absent() {
    assert!(parse(Some(&with("placement", Value::Null))).unwrap().contains("placement: None"));
    assert!(parse(Some(&without("placement"))).unwrap().contains("placement: None"));
}

#[test]
fn every_other_field_must_be_there() {
    for field in [
        "event_id",
        "kind",
        "advertiser_id",
        "campaign_id",
        "user_id",
        "cost_micros",
        "occurred_at",
    ] {
        assert!(rejected(&without(field)).contains(&format!("missing field `{field}`")));
        rejected(&with(field, Value::Null));
    }
}

#[test]
fn a_duplicate_key_is_refused() {
    let twice = event().to_string().replacen('{', r#"{"user_id":"u-2","#, 1);
    assert!(rejected(&twice).contains("duplicate field `user_id`"));
    let twice = event().to_string().replacen('{', r#"{"placement":null,"#, 1);
    assert!(rejected(&twice).contains("duplicate field `placement`"));
}

#[test]
fn values_of_another_kind_are_refused() {
    for id in [json!(1.0), json!("1"), json!(true), json!(1e3), json!(u64::MAX)] {
        rejected(&with("advertiser_id", id.clone()));
        rejected(&with("campaign_id", id.clone()));
        rejected(&with("cost_micros", id));
    }
    assert!(rejected(&with("kind", json!("view"))).contains("`view`"));
    rejected(&with("kind", json!({"click": null})));
    rejected(&with("event_id", json!("no-uuid")));
    rejected(&with("user_id", json!(7)));
    for time in [json!("yesterday"), json!("2026-13-01T00:00:00Z"), json!("2026-11-21"), json!(0)] {
        rejected(&with("occurred_at", time));
    }
    for whole in ["", "nul", "[]", "7", "{", "{} {}"] {
        rejected(whole);
    }
    let list = json!([event()["event_id"], "click", 1, 10, "u", null, 1, "2026-11-21T00:00:00Z"]);
    rejected(&list.to_string());
}

#[actix::test]
async fn unknown_and_foreign_references_are_rejected_with_their_values() {
    let unknown = reason(&with("advertiser_id", json!(9)));
    assert!(unknown.starts_with("unknown advertiser: there is no advertiser 9"), "{unknown}");
    assert!(unknown.contains("5f0c1f5e"), "{unknown}");
    let unknown = reason(&with("campaign_id", json!(99)));
    assert!(unknown.starts_with("unknown campaign: there is no campaign 99"), "{unknown}");
    let foreign = reason(&with("campaign_id", json!(20)));
    assert!(foreign.contains("campaign 20 belongs to advertiser 2, not to 1"), "{foreign}");
    let nul = reason(&with("user_id", json!("a\0b")));
    assert!(nul.contains("column user_id: a NUL character"), "{nul}");
}

#[actix::test]
async fn a_saved_event_is_a_duplicate() {
    let mut known = known();
    known.saved = [event()["event_id"].as_str().unwrap().parse().unwrap()].into_iter().collect();
    let worked = worked(&known, &event().to_string());
    assert_eq!((worked.chunks[0].duplicate.len(), worked.chunks[0].to_save), (1, 0));
}

#[actix::test]
async fn only_a_click_of_active_sides_is_billable() {
    let paused = json!({"advertiser_id": 2, "campaign_id": 20});
    for (changes, billable) in [
        (json!({}), 1),
        (json!({"kind": "impression"}), 0),
        (json!({"campaign_id": 11}), 0),
        (paused, 0),
    ] {
        let mut event = event();
        for (field, value) in changes.as_object().unwrap() {
            event[field] = value.clone();
        }
        let worked = worked(&known(), &event.to_string());
        let row = worked.chunks[0].rows.table(0).get(0);
        assert_eq!(row.bytes.last(), Some(&billable), "{event}");
        assert_eq!(row.key.len(), 16);
    }
}

#[test]
fn the_row_names_its_table() {
    let [table] = &<Ads as Pipeline>::Rows::tables()[..] else { panic!("one table") };
    assert_eq!(table.name(), r#""ads"."enriched_events""#);
    assert_eq!(table.key(), [r#""event_id""#]);
    assert_eq!(table.columns().len(), 12);
    assert!(EnrichedEvent::TABLE.ends_with("ads::tables::EnrichedEvent"));
}
