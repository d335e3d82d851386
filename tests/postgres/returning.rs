//! Parked records that come back: what is put off, what waits behind it, and what becomes of both.

use longshore_actors::parked::RetryPolicy;
use longshore_actors::ports::{BatchReport, SessionId, Store};
use serde_json::json;

use super::support::*;

/// All parked records in the order of their offsets: offset, state, attempts.
async fn parked(database: &Database) -> Vec<(i64, String, i32)> {
    let sql = r#"select "offset", state, attempts from longshore.parked_records order by 1"#;
    let rows = database.client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

async fn make_due(database: &Database) {
    let now = "update longshore.parked_records set due_at = now() where state = 'retrying'";
    database.client.batch_execute(now).await.unwrap();
}

fn row(offset: i64, state: &str, attempts: i32) -> (i64, String, i32) {
    (offset, state.to_owned(), attempts)
}

/// Things 21, 31 and 41 are in one lane, 22 in another.
fn things() -> [serde_json::Value; 4] {
    [
        json!({"id": 21, "name": "later"}),
        json!({"id": 22, "name": "now"}),
        json!({"id": 31, "name": "behind"}),
        json!({"id": 41, "name": "later"}),
    ]
}

#[actix::test]
async fn what_is_put_off_holds_its_lane_and_no_other_and_comes_back_in_order() {
    let Some(database) = database().await else { return };
    let (store, maker) = (database.store("a", &Broker::new(1)), Maker::new());
    let fence = held(&store, 0).await;
    set_up(false);
    let reports = save(&store, &[maker.in_lanes(&fence, 0, &things())]).await;
    assert_eq!(reports, [settled(1, 0, 3)]);
    assert_eq!(fence.lanes().records(&[1]), 3);
    let all = [row(0, "retrying", 1), row(2, "waiting", 0), row(3, "waiting", 0)];
    assert_eq!(parked(&database).await, all);
    // The next batch was worked before anybody knew.
    let behind = maker.in_lanes(&fence, 4, &[json!({"id": 51}), json!({"id": 52})]);
    assert_eq!(save(&store, &[behind]).await, [settled(1, 0, 1)]);
    assert!(maker.due(&store, &fence).await.is_none(), "nothing is due yet");
    make_due(&database).await;
    // All of the lane comes back; its head fails again, and so nothing behind it is tried.
    let due = maker.due(&store, &fence).await.unwrap();
    assert_eq!(due.batch.parcel.arena.len(), 4);
    let reports = store.save(SessionId(0), &[due]).await.unwrap();
    assert_eq!(reports, [BatchReport::Saved(settled(0, 0, 0))]);
    assert_eq!(parked(&database).await[0], row(0, "retrying", 2));
    set_up(true);
    make_due(&database).await;
    let due = maker.due(&store, &fence).await.unwrap();
    let reports = store.save(SessionId(0), &[due]).await.unwrap();
    assert_eq!(reports, [BatchReport::Saved(settled(4, 0, 0))]);
    assert_eq!(parked(&database).await, []);
    assert!(fence.lanes().is_empty(), "the lane is free");
    assert_eq!((database.things().await, database.next_offset(0).await), (6, 6));
    let counted = "select settled_records * 100 + parked_records from longshore.offsets";
    assert_eq!(database.number(counted).await, 604, "what comes back was counted before");
    database.drop().await;
}

#[actix::test]
async fn lanes_are_known_to_the_next_owner() {
    let Some(database) = database().await else { return };
    let (broker, maker) = (Broker::new(1), Maker::new());
    let (a, b) = (database.store("a", &broker), database.store("b", &broker));
    set_up(false);
    let fence = held(&a, 0).await;
    save(&a, &[maker.in_lanes(&fence, 0, &things())]).await;
    let fence = held(&b, 0).await;
    assert_eq!((fence.lanes().records(&[1]), fence.lanes().records(&[2])), (3, 0));
    let behind = maker.in_lanes(&fence, 4, &[json!({"id": 51}), json!({"id": 52})]);
    assert_eq!(save(&b, &[behind]).await, [settled(1, 0, 1)]);
    database.drop().await;
}

#[actix::test]
async fn after_the_last_attempt_it_is_dead_and_the_lane_goes_on() {
    let Some(mut database) = database().await else { return };
    database.rules.retry = RetryPolicy { attempts: 2, ..RetryPolicy::default() };
    let (store, maker) = (database.store("a", &Broker::new(1)), Maker::new());
    let fence = held(&store, 0).await;
    set_up(false);
    save(&store, &[maker.in_lanes(&fence, 0, &things()[..3])]).await;
    make_due(&database).await;
    let due = maker.due(&store, &fence).await.unwrap();
    let reports = store.save(SessionId(0), &[due]).await.unwrap();
    assert_eq!(reports, [BatchReport::Saved(settled(0, 0, 1))], "one is dead");
    assert_eq!(parked(&database).await, [row(0, "dead", 2), row(2, "waiting", 0)]);
    let due = maker.due(&store, &fence).await.unwrap();
    let reports = store.save(SessionId(0), &[due]).await.unwrap();
    assert_eq!(reports, [BatchReport::Saved(settled(1, 0, 0))], "the next one is saved");
    assert_eq!(parked(&database).await, [row(0, "dead", 2)]);
    assert!(fence.lanes().is_empty());
    database.drop().await;
}

#[actix::test]
async fn what_a_person_did_in_between_is_seen() {
    let Some(database) = database().await else { return };
    let (store, maker) = (database.store("a", &Broker::new(1)), Maker::new());
    let fence = held(&store, 0).await;
    set_up(false);
    save(&store, &[maker.in_lanes(&fence, 0, &things())]).await;
    make_due(&database).await;
    set_up(true);
    let due = maker.due(&store, &fence).await.unwrap();
    let discard = r#"delete from longshore.parked_records where "offset" = 2"#;
    database.client.batch_execute(discard).await.unwrap();
    let reports = store.save(SessionId(0), &[due]).await.unwrap();
    assert_eq!(reports, [BatchReport::Saved(settled(2, 0, 0))]);
    assert_eq!(
        database.texts("select name from things.things order by id").await,
        ["later", "now", "later"]
    );
    database.drop().await;
}

#[actix::test]
async fn a_lane_that_would_be_overfull_leaves_the_batch_out() {
    let Some(mut database) = database().await else { return };
    database.rules.retry = RetryPolicy { lane_records: 2, ..RetryPolicy::default() };
    let (store, maker) = (database.store("a", &Broker::new(2)), Maker::new());
    let (full, other) = (held(&store, 0).await, held(&store, 1).await);
    set_up(false);
    let group = [
        maker.in_lanes(&full, 0, &things()),
        maker.in_lanes(&full, 4, &[json!({"id": 99})]),
        maker.in_lanes(&other, 0, &[json!({"id": 98})]),
    ];
    let reports = store.save(SessionId(0), &group).await.unwrap();
    let [BatchReport::LaneFull { reason }, BatchReport::Stale, BatchReport::Saved(_)] =
        &reports[..]
    else {
        panic!("{reports:?}")
    };
    assert!(reason.contains("retry.lane_records"), "{reason}");
    assert_eq!((database.next_offset(0).await, database.next_offset(1).await), (0, 1));
    database.drop().await;
}

#[actix::test]
async fn a_refused_record_that_came_back_is_dead_with_the_new_reason() {
    let Some(database) = database().await else { return };
    let (store, maker) = (database.store("a", &Broker::new(1)), Maker::new());
    let fence = held(&store, 0).await;
    set_up(false);
    let poor = json!({"id": 23, "name": "later", "amount": -1});
    save(&store, &[maker.in_lanes(&fence, 0, &[poor, json!({"id": 24})])]).await;
    make_due(&database).await;
    set_up(true);
    let due = maker.due(&store, &fence).await.unwrap();
    let reports = store.save(SessionId(0), &[due]).await.unwrap();
    assert_eq!(reports, [BatchReport::Saved(settled(0, 0, 1))]);
    assert_eq!(parked(&database).await, [row(0, "dead", 2)]);
    let reason = database.texts("select reason from longshore.parked_records").await.remove(0);
    assert!(reason.contains("amount"), "{reason}");
    database.drop().await;
}
