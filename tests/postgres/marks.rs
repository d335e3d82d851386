//! The marks of work in hand: deaths are told from clean ends, and a record that kills the process
//! from a process that is killed.

use std::sync::Arc;

use longshore::postgres::store::PostgresStore;
use longshore_actors::caution::Caution;
use longshore_actors::fence::Fence;
use longshore_actors::ports::{Acquired, Holding, Store};
use longshore_actors::record::Offset;
use serde_json::json;

use super::support::*;

/// A new owner takes the partition over and notes that work is in hand, and `named`.
async fn owner_at_work(
    database: &Database,
    broker: &Arc<Broker>,
    named: Option<i64>,
) -> (PostgresStore, Arc<Fence>, Option<Caution>) {
    let store = database.store(&uuid::Uuid::new_v4().to_string(), broker);
    let fence = fence(0);
    let answer = store.acquire(std::slice::from_ref(&fence)).await.unwrap().remove(0);
    let Acquired::Held(holding) = answer else { panic!("{answer:?}") };
    let Holding { epoch, next_offset, caution, .. } = holding;
    fence.hold(epoch, next_offset);
    assert!(store.begin_work(&fence, named.map(Offset)).await.unwrap());
    (store, fence, caution)
}

#[actix::test]
async fn after_three_deaths_with_work_in_hand_the_partition_goes_on_with_caution() {
    let Some(database) = database().await else { return };
    let broker = Broker::new(1);
    for _ in 0..3 {
        let (_, _, caution) = owner_at_work(&database, &broker, None).await;
        assert_eq!(caution, None);
    }
    let (store, fence, caution) = owner_at_work(&database, &broker, None).await;
    assert_eq!(caution, Some(Caution { condemned: None }));
    // A save shows that it was none of the records before it.
    let make = Maker::new();
    save(&store, &[make.batch(&fence, 0, &[json!({"id": 1})])]).await;
    let (_, _, caution) = owner_at_work(&database, &broker, None).await;
    assert_eq!(caution, None);
    database.drop().await;
}

#[actix::test]
async fn only_a_record_that_is_found_named_at_three_starts_in_a_row_is_condemned() {
    let Some(database) = database().await else { return };
    let broker = Broker::new(1);
    for _ in 0..4 {
        owner_at_work(&database, &broker, None).await;
    }
    // Killed from outside, at another record each time.
    for offset in [7, 8, 7, 8, 9] {
        let (_, _, caution) = owner_at_work(&database, &broker, Some(offset)).await;
        assert_eq!(caution, Some(Caution { condemned: None }));
    }
    for _ in 0..2 {
        let (_, _, caution) = owner_at_work(&database, &broker, Some(9)).await;
        assert_eq!(caution, Some(Caution { condemned: None }));
    }
    let (_, _, caution) = owner_at_work(&database, &broker, Some(9)).await;
    assert_eq!(caution, Some(Caution { condemned: Some(Offset(9)) }));
    database.drop().await;
}

#[actix::test]
async fn who_rests_or_is_fenced_does_not_die() {
    let Some(database) = database().await else { return };
    let broker = Broker::new(1);
    let mut before: Option<Arc<Fence>> = None;
    for _ in 0..5 {
        let (store, fence, caution) = owner_at_work(&database, &broker, None).await;
        assert_eq!(caution, None);
        store.rest(std::slice::from_ref(&fence)).await.unwrap();
        if let Some(before) = before.replace(fence) {
            assert!(!store.begin_work(&before, None).await.unwrap(), "it is another's row");
            store.rest(&[before]).await.unwrap();
        }
    }
    assert_eq!(database.number("select deaths::bigint from longshore.offsets").await, 0);
    database.drop().await;
}
