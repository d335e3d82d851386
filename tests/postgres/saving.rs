//! What is saved, and what is left out.

use std::sync::Arc;

use longshore_actors::conservation::Settled;
use longshore_actors::error::SaveError;
use longshore_actors::ports::{Acquired, BatchReport, SessionId, Store};
use serde_json::{Value, json};

use super::support::*;

fn things(ids: std::ops::Range<i64>) -> Vec<Value> {
    ids.map(|id| json!({"id": id, "name": "x", "parts": [1, 2]})).collect()
}

#[actix::test]
async fn batches_of_several_partitions_are_saved_in_one_transaction() {
    let Some(database) = database().await else { return };
    let (broker, make) = (Broker::new(3), Maker::new());
    let store = database.store("a", &broker);
    let fences = [held(&store, 0).await, held(&store, 1).await, held(&store, 2).await];
    let group = [
        make.batch(&fences[2], 0, &things(3000..3100)),
        make.batch(&fences[0], 0, &things(1000..1100)),
        make.batch(&fences[0], 100, &things(1100..1150)),
        make.batch(&fences[1], 0, &[]),
        make.batch_to(&fences[1], (0, 7), &[json!({"id": 13}), Value::Null]),
    ];
    let expected = [
        settled(100, 0, 0),
        settled(100, 0, 0),
        settled(50, 0, 0),
        settled(0, 0, 0),
        Settled { parked: 1, skipped: 1, ..Settled::default() },
    ];
    assert_eq!(save(&store, &group).await, expected);
    assert_eq!(database.things().await, 250);
    assert_eq!(database.number("select count(*) from things.parts").await, 500);
    assert_eq!(database.number("select count(distinct xmin::text) from things.things").await, 1);
    let offsets = [database.next_offset(0).await, database.next_offset(1).await];
    assert_eq!((offsets, database.next_offset(2).await), ([150, 7], 100));
    let counts = "select settled_records * 1000 + parked_records from longshore.offsets \
                  where partition = 1";
    assert_eq!(database.number(counts).await, 2001);
    database.drop().await;
}

#[actix::test]
async fn a_parked_record_keeps_every_byte() {
    let Some(database) = database().await else { return };
    let (broker, make) = (Broker::new(1), Maker::new());
    let store = database.store("a", &broker);
    let fence = held(&store, 0).await;
    let group = [make.batch_to(&fence, (5, 9), &[json!({"id": 13})])];
    database.client.batch_execute("update longshore.offsets set next_offset = 5").await.unwrap();
    save(&store, &group).await;
    // An operator moves the offset back: the record is parked anew, in the same row.
    let back = "update longshore.offsets set next_offset = 5; \
                update longshore.parked_records set state = 'waiting', attempts = 7";
    database.client.batch_execute(back).await.unwrap();
    save(&store, &group).await;
    let row = database
        .client
        .query_one(
            r#"select pipeline, "group", topic, key, value, headers, state, attempts, reason, error,
               "offset", extract(epoch from "timestamp")::float8, due_at is null
               from longshore.parked_records"#,
            &[],
        )
        .await
        .unwrap();
    assert_eq!(row.get::<_, &str>(0), "things");
    assert_eq!(row.get::<_, &str>(1), GROUP);
    assert_eq!(row.get::<_, &str>(2), TOPIC);
    assert_eq!(row.get::<_, &[u8]>(3), b"key");
    assert_eq!(row.get::<_, &[u8]>(4), br#"{"id":13}"#);
    assert_eq!(row.get::<_, Value>(5), json!([{"name": "test", "value": "1"}]));
    assert_eq!((row.get::<_, &str>(6), row.get::<_, i32>(7)), ("dead", 1));
    assert_eq!((row.get::<_, &str>(8), row.get::<_, &str>(9)), ("unlucky", "thing 13"));
    assert_eq!((row.get::<_, i64>(10), row.get::<_, f64>(11)), (5, 0.005));
    assert!(row.get::<_, bool>(12));
    database.drop().await;
}

#[actix::test]
async fn a_fenced_partition_does_not_spoil_the_others() {
    let Some(database) = database().await else { return };
    let (broker, make) = (Broker::new(3), Maker::new());
    let (old, new) = (database.store("old", &broker), database.store("new", &broker));
    let fences = [held(&old, 0).await, held(&old, 1).await, held(&old, 2).await];
    held(&new, 1).await;
    let group = [
        make.batch(&fences[0], 0, &things(0..10)),
        make.batch(&fences[1], 0, &things(10..20)),
        make.batch(&fences[1], 10, &things(20..30)),
        make.batch(&fences[2], 0, &things(30..40)),
    ];
    fences[2].fall();
    let reports = old.save(SessionId(0), &group).await.unwrap();
    let fenced = BatchReport::Fenced { owner: Some("new".to_owned()) };
    assert_eq!(
        reports,
        [BatchReport::Saved(settled(10, 0, 0)), fenced.clone(), fenced, BatchReport::Stale]
    );
    assert_eq!((database.things().await, database.next_offset(1).await), (10, 0));
    database.drop().await;
}

#[actix::test]
async fn a_stale_epoch_or_attempt_writes_nothing() {
    let Some(database) = database().await else { return };
    let (broker, make) = (Broker::new(1), Maker::new());
    let store = database.store("a", &broker);
    let fence = held(&store, 0).await;
    let stale = [make.batch(&fence, 0, &things(0..10))];
    fence.begin_attempt();
    let reports = store.save(SessionId(0), &stale).await.unwrap();
    assert_eq!(reports, [BatchReport::Stale]);
    let batch = [make.batch(&fence, 0, &things(0..10))];
    database
        .client
        .batch_execute("update longshore.offsets set epoch = 9, owner = null")
        .await
        .unwrap();
    let reports = store.save(SessionId(0), &batch).await.unwrap();
    assert_eq!(reports, [BatchReport::Fenced { owner: None }]);
    assert_eq!(database.things().await, 0);
    database.drop().await;
}

#[actix::test]
async fn ranges_chain_or_are_left_out() {
    let Some(database) = database().await else { return };
    let (broker, make) = (Broker::new(1), Maker::new());
    let store = database.store("a", &broker);
    let fence = held(&store, 0).await;
    save(&store, &[make.batch(&fence, 0, &things(0..10))]).await;
    let again = [make.batch(&fence, 0, &things(0..10)), make.batch(&fence, 10, &things(10..20))];
    let reports = store.save(SessionId(0), &again).await.unwrap();
    assert_eq!(reports, [BatchReport::Stale, BatchReport::Stale]);
    let gap = [make.batch(&fence, 11, &things(10..20))];
    let reports = store.save(SessionId(0), &gap).await.unwrap();
    assert_eq!(reports, [BatchReport::Fenced { owner: Some("a".to_owned()) }]);
    assert_eq!((database.things().await, database.next_offset(0).await), (10, 10));
    database.drop().await;
}

#[actix::test]
async fn a_missing_table_stops_and_leaves_the_offset() {
    let Some(database) = database().await else { return };
    let (broker, make) = (Broker::new(1), Maker::new());
    let store = database.store("a", &broker);
    let fence = held(&store, 0).await;
    database.client.batch_execute("drop table things.parts").await.unwrap();
    let batch = [make.batch(&fence, 0, &things(0..10))];
    match store.save(SessionId(0), &batch).await {
        Err(SaveError::Stop(message)) => assert!(message.contains("42P01"), "{message}"),
        other => panic!("{other:?}"),
    }
    assert_eq!((database.things().await, database.next_offset(0).await), (0, 0));
    let make_again = "create table things.parts (thing bigint, no int, weight int)";
    database.client.batch_execute(make_again).await.unwrap();
    save(&store, &batch).await;
    database.drop().await;
}

#[actix::test]
async fn concurrent_sessions_with_the_same_keys_neither_deadlock_nor_double() {
    let Some(database) = database().await else { return };
    let (broker, make) = (Broker::new(4), Maker::new());
    let store = Arc::new(database.store("a", &broker));
    let mut saves = Vec::new();
    for partition in 0..4 {
        let fence = held(&store, i32::try_from(partition).unwrap()).await;
        // The same 600 things in every partition, each in another order.
        let order: Vec<Value> = (0..600)
            .map(|n| json!({"id": (n * (7 + 6 * partition as i64)) % 601, "parts": [n % 7]}))
            .collect();
        let batches: Vec<_> = (0..6)
            .map(|n| make.batch(&fence, n * 100, &order[n as usize * 100..][..100]))
            .collect();
        let store = store.clone();
        saves.push(async move {
            let mut sum = Settled::default();
            for batch in batches {
                sum.add(save_over(&store, partition, &[batch]).await[0]);
            }
            sum
        });
    }
    let sums = futures_util::future::join_all(saves).await;
    let saved: u64 = sums.iter().map(|sum| sum.saved).sum();
    assert_eq!(sums.iter().map(Settled::total).sum::<u64>(), 2400);
    assert_eq!(database.things().await, saved as i64);
    assert_eq!(database.number("select count(*) from things.parts").await, saved as i64);
    database.drop().await;
}

#[actix::test]
async fn an_aborted_session_rolls_back_and_goes_on() {
    let Some(database) = database().await else { return };
    let (broker, make) = (Broker::new(1), Maker::new());
    let store = Arc::new(database.store("a", &broker));
    let fence = held(&store, 0).await;
    // Somebody holds a row of the table: the save waits for it.
    let mut other = connect(&database.options).await;
    let lock = other.transaction().await.unwrap();
    lock.batch_execute("insert into things.things (id, amount) values (5, 0)").await.unwrap();
    let batch = [make.batch(&fence, 0, &things(0..10))];
    let saving = store.save(SessionId(0), &batch);
    let aborting = async {
        let waits = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'";
        while database.number(waits).await == 0 {}
        store.abort(SessionId(0));
    };
    let (saved, ()) = futures_util::future::join(saving, aborting).await;
    let is_to_be_done_again = matches!(saved, Err(SaveError::Retry(_) | SaveError::TooSlow(_)));
    assert!(is_to_be_done_again, "{saved:?}");
    lock.rollback().await.unwrap();
    assert_eq!(save(&store, &batch).await, [settled(10, 0, 0)]);
    assert!(matches!(store.reacquire(&fence).await, Ok(Acquired::Held(_))));
    database.drop().await;
}
