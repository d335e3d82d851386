//! Promise: records of one lane are worked one after the other, in offset order.

mod house;

use std::time::Duration;

use hashbrown::HashMap;
use house::{Fixture, ROOMY, counting};
use longshore_actors::pipeline::Order;

async fn worked_numbers_by_key(order: Order) -> HashMap<u64, Vec<i64>> {
    tokio::time::pause();
    let mut fixture = Fixture::new(order, ROOMY, Duration::from_millis(7), counting(1, 2000));
    fixture.run_until(Fixture::is_at_the_end).await;
    fixture.assert_each_once();
    let mut by_key: HashMap<u64, Vec<i64>> = HashMap::new();
    for (key, number) in fixture.pipeline.worked.lock().expect("no test panics here").iter() {
        by_key.entry(*key).or_default().push(*number);
    }
    by_key
}

#[actix::test]
async fn by_key_each_key_is_worked_in_offset_order() {
    let by_key = worked_numbers_by_key(Order::ByKey).await;
    assert_eq!(by_key.len(), 7);
    assert!(by_key.values().all(|numbers| numbers.is_sorted()), "{by_key:?}");
}

#[actix::test]
async fn by_partition_all_records_are_worked_in_offset_order() {
    let by_key = worked_numbers_by_key(Order::ByPartition).await;
    assert!(by_key.values().all(|numbers| numbers.is_sorted()), "{by_key:?}");
}
