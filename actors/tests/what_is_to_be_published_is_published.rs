//! Promise: whatever saved records ask to publish, and every dead record, is published at least
//! once and in order by key; nothing else is. Whoever dies on the way, and whatever is revoked. A
//! whole house under virtual time.

mod house;

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use hashbrown::HashMap;
use house::{Fixture, ROOMY, counting};
use longshore_actors::door::Front;
use longshore_actors::faults;
use longshore_actors::health::ActorState;
use longshore_actors::pipeline::Order;
use longshore_actors::record::PartitionId;
use longshore_actors::testing::tally_value;

const LATENCY: Duration = Duration::from_millis(2);

/// Every moment of the relay at which it may die.
const POINTS: [&str; 3] = ["Look", "Sent", "Passed"];

fn house(values: HashMap<PartitionId, Vec<Vec<u8>>>) -> Fixture {
    let fixture = Fixture::new(Order::ByKey, ROOMY, LATENCY, values);
    fixture.pipeline.publishing.store(true, SeqCst);
    fixture.publisher.set_latency(LATENCY);
    fixture
}

/// Records of which some are rejected, some panic and some are skipped, each seventh of one key.
fn mixed(records: i64) -> HashMap<PartitionId, Vec<Vec<u8>>> {
    let number = |n: i64| if n % 10 == 3 { -1 - n / 10 % 3 } else { n };
    let values = |_| (0..records).map(|n| tally_value((n % 7) as u64, number(n))).collect();
    (0..2).map(|index| (PartitionId::new("t", index), values(index))).collect()
}

fn all_is_published(fixture: &Fixture) -> bool {
    fixture.is_at_the_end() && fixture.store.num_unpublished() == 0
}

#[actix::test]
async fn saved_records_publish_what_they_asked_for_and_others_nothing() {
    tokio::time::pause();
    let mut fixture = house(mixed(300));
    fixture.run_until(all_is_published).await;
    fixture.assert_published();
    let taken = fixture.publisher.taken();
    let messages = taken.iter().filter(|message| message.topic == "tallied");
    let values: Vec<_> =
        messages.map(|message| message.value.clone().unwrap_or_default()).collect();
    assert!(values.iter().all(|value| !value.starts_with(b"-")), "of a record that was not saved");
    assert_eq!(values.len(), 2 * 2 * 270, "two for each saved record, each once");
    let dead = taken.iter().filter(|message| message.topic == "dead-letters").count();
    assert_eq!(dead, fixture.store.parked().len());
    assert_eq!(dead, 2 * 20, "those that are rejected and those that panic, not those skipped");
}

#[actix::test]
async fn a_panic_at_any_moment_repeats_in_order_and_loses_nothing() {
    tokio::time::pause();
    for point in POINTS {
        for nth in [0, 1, 3] {
            let mut fixture = house(mixed(300));
            faults::order_panic("RelayActor", point, nth);
            fixture.run_until(all_is_published).await;
            fixture.assert_published();
            faults::withdraw();
        }
    }
}

#[actix::test]
async fn revokes_and_a_producer_that_breaks_repeat_in_order_and_lose_nothing() {
    tokio::time::pause();
    for seed in 0..40 {
        let mut fixture = house(counting(3, 200));
        fixture.publisher.set_weather(Some(seed));
        for step in 0..200 {
            if step % 20 == 19 {
                let door = &mut fixture.doors[step / 20 % 3];
                let partition = door.fence().partition().clone();
                door.fence().fall();
                *door = fixture.house.front().assign(vec![partition]).remove(0);
            }
            fixture.step().await;
        }
        fixture.publisher.set_weather(None);
        fixture.run_until(all_is_published).await;
        fixture.assert_published();
    }
}

#[actix::test]
async fn a_message_that_is_too_large_becomes_a_state_and_later_ones_go_on() {
    tokio::time::pause();
    let mut fixture = house(counting(1, 100));
    fixture.publisher.refuse(b"14.a");
    fixture.run_until(all_is_published).await;
    let refused: Vec<_> =
        fixture.store.messages().into_iter().filter(|m| m.outcome != Some(Ok(()))).collect();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].outcome, Some(Err("too large".to_owned())));
    let taken = fixture.publisher.taken();
    let of_the_key = taken.iter().filter(|message| message.key == Some(vec![0; 8])).count();
    assert_eq!(of_the_key, 2 * 15 - 1, "everything else of its key");
}

#[actix::test]
async fn while_the_brokers_are_silent_health_says_so_and_records_go_on() {
    tokio::time::pause();
    let mut fixture = house(counting(2, 100));
    fixture.publisher.set_latency(Duration::from_secs(15));
    fixture.run_until(Fixture::is_at_the_end).await;
    let waits = |fixture: &Fixture| {
        let actors = fixture.house.health().actors;
        let relay = actors.iter().find(|actor| actor.actor == "RelayActor");
        relay.is_some_and(|relay| matches!(relay.state, ActorState::Waiting(_)))
    };
    fixture.run_until(waits).await;
    fixture.publisher.set_latency(LATENCY);
    fixture.run_until(all_is_published).await;
    fixture.assert_published();
}
