//! Promise: once a partition is let go, nothing of it begins to be saved; its next owner begins
//! where the last save ended.

mod house;

use std::time::Duration;

use house::{Fixture, ROOMY, counting};
use longshore_actors::door::Front;
use longshore_actors::pipeline::Order;
use longshore_actors::record::PartitionId;
use longshore_actors::ticket::BudgetLimits;

#[actix::test]
async fn a_closed_door_gives_up_what_is_in_hand_and_the_next_assignment_saves_it_once() {
    tokio::time::pause();
    let slow = Duration::from_millis(100);
    let mut fixture = Fixture::new(Order::ByKey, ROOMY, slow, counting(1, 500));
    let partition = PartitionId::new("t", 0);
    let some_are_saved = |f: &Fixture| f.store.next_offset(&partition).is_some_and(|n| n.0 > 0);
    fixture.run_until(some_are_saved).await;
    for _ in 0..10 {
        fixture.step().await;
    }

    let fence = fixture.doors[0].fence().clone();
    fixture.doors.clear();
    let saved = fixture.store.rows().len();
    // Longer than a save and than the persister's sweep.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(fixture.store.rows().len(), saved, "nothing is saved after the fence fell");
    let counts = fence.counts().snapshot();
    assert_eq!(counts.in_flight(), 0, "{counts:?}");
    assert!(fixture.house.front().budget().is_drained(), "every ticket is home");

    fixture.doors = fixture.house.front().assign(vec![partition.clone()]);
    fixture.run_until(Fixture::is_at_the_end).await;
    fixture.assert_each_once();
}

#[actix::test]
async fn a_second_owner_fences_the_first() {
    tokio::time::pause();
    // A few batches at a time, so that the first owner is in the middle when the second comes.
    let budget = BudgetLimits { records: 80, ..ROOMY };
    let mut fixture =
        Fixture::new(Order::ByKey, budget, Duration::from_millis(5), counting(1, 2000));
    let partition = PartitionId::new("t", 0);
    fixture.run_until(|f| f.store.next_offset(&partition).is_some_and(|n| n.0 > 100)).await;
    let second = fixture.house.front().assign(vec![partition.clone()]);
    fixture.run_until(|f| f.source.stopped(&f.doors[0]).is_some()).await;
    let reason = fixture.source.stopped(&fixture.doors[0]).expect("it was stopped");
    assert!(reason.to_string().starts_with("fenced"), "{reason}");
    let at = fixture.store.next_offset(&partition);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(fixture.store.next_offset(&partition), at);
    assert!(second[0].fence().stands());
}
