//! Promise: whoever of the house dies, the others go on, its work is done again, and nothing is
//! lost or doubled.

mod house;

use std::time::Duration;

use house::{Fixture, ROOMY, counting};
use longshore_actors::faults;
use longshore_actors::pipeline::Order;
use longshore_actors::testing::Waits;
use longshore_actors::topology::HouseDown;

/// Every message of every actor that records depend on, and the steps behind their questions.
const POINTS: [(&str, &str); 21] = [
    ("Acquirer", "AcquirePartitions"),
    ("Acquirer", "Acquired"),
    ("PartitionActor", "ClaimAnswer"),
    ("PartitionActor", "Marked"),
    ("PartitionActor", "HandedInBatch"),
    ("PartitionActor", "BatchSaved"),
    ("PartitionActor", "BatchGivenUp"),
    ("PartitionActor", "Reacquired"),
    ("ContextLoader", "DecodedBatch"),
    ("ContextLoader", "Loaded"),
    ("WorkerPool", "LoadedBatch"),
    ("WorkerActor", "WorkChunk"),
    ("WorkerActor", "Worked"),
    ("PersisterActor", "WorkedChunk"),
    ("PersisterActor", "Saved"),
    ("PersisterActor", "Sweep"),
    ("PositionWatcher", "Look"),
    ("RelayActor", "Look"),
    ("HealthActor", "HealthReport"),
    ("HealthActor", "ActorGone"),
    ("HealthActor", "Look"),
];

const LATENCY: Duration = Duration::from_millis(3);

#[actix::test]
async fn a_panic_at_any_message_of_any_actor_loses_nothing_and_doubles_nothing() {
    tokio::time::pause();
    for (actor, message) in POINTS {
        for nth in [0, 1, 5] {
            let mut fixture = Fixture::new(Order::ByKey, ROOMY, LATENCY, counting(3, 400));
            *fixture.pipeline.waits.lock().expect("no panic") = Waits::Some(3);
            faults::order_panic(actor, message, nth);
            // Something for each notice: a batch that comes back, a partition that ends.
            faults::order_panic("WorkerActor", "WorkChunk", 2);
            fixture.run_until(Fixture::is_at_the_end).await;
            fixture.run_until(|f| f.conservation().in_flight() == 0).await;
            fixture.assert_each_once();
            fixture.assert_in_order();
            faults::withdraw();
        }
    }
}

#[actix::test]
async fn an_actor_that_dies_again_and_again_ends_the_house_with_a_reason() {
    tokio::time::pause();
    let mut fixture = Fixture::new(Order::ByKey, ROOMY, LATENCY, counting(1, 400));
    for _ in 0..40 {
        faults::order_panic("ContextLoader", "DecodedBatch", 0);
    }
    let down = loop {
        tokio::select! {
            down = fixture.house.down() => break down,
            () = tokio::time::sleep(Duration::from_millis(1)) => {}
        }
        fixture.step().await;
    };
    let HouseDown::Restarts { reason } = down else { panic!("{down:?}") };
    assert!(reason.contains("ContextLoader 0 had to be started again 20 times"), "{reason}");
    faults::withdraw();
}
