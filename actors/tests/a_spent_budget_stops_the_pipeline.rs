//! A store that stops its pipeline takes nothing more of what is in hand; nothing of that is lost,
//! and everything goes on by itself when somebody lets it.

mod house;

use std::time::Duration;

use hashbrown::HashMap;
use house::{Fixture, ROOMY};
use longshore_actors::pipeline::Order;
use longshore_actors::ports::StopReason;
use longshore_actors::record::PartitionId;
use longshore_actors::testing::tally_value;

const LATENCY: Duration = Duration::from_millis(2);

/// Dead records that are too many.
const BUDGET: usize = 100;

/// Records that are all refused.
fn refused(partitions: i32, records: i64) -> HashMap<PartitionId, Vec<Vec<u8>>> {
    let values = |_| (0..records).map(|n| tally_value((n % 7) as u64, -2)).collect();
    (0..partitions).map(|index| (PartitionId::new("t", index), values(index))).collect()
}

fn is_stopped(fixture: &Fixture) -> bool {
    let stopped = |door| match fixture.source.stopped(door) {
        Some(StopReason::Halted(halt)) => !halt.is_paused,
        _ => false,
    };
    fixture.doors.iter().all(stopped)
        && fixture.doors.iter().all(|door| door.batches_in_hand() == 0)
}

#[actix::test]
async fn everything_in_hand_is_let_go_and_read_again_when_it_goes_on() {
    tokio::time::pause();
    for order in [Order::Unordered, Order::ByKey, Order::ByPartition] {
        let mut fixture = Fixture::new(order, ROOMY, LATENCY, refused(4, 2000));
        fixture.store.set_budget(Some(BUDGET));
        fixture.run_until(is_stopped).await;
        let parked = fixture.store.parked().len();
        assert!(parked > BUDGET, "the batch that crosses the limit is there to be looked at");
        assert!(parked <= BUDGET + fixture.batch_records, "{order}: {parked} are dead");
        for _ in 0..3000 {
            fixture.step().await;
        }
        assert_eq!(fixture.store.parked().len(), parked, "nothing goes on by itself");
        fixture.store.set_budget(None);
        fixture.store.set_halt(None);
        fixture.run_until(Fixture::is_at_the_end).await;
        let mut offsets: Vec<_> =
            fixture.store.parked().into_iter().map(|(p, offset, _)| (p, offset)).collect();
        offsets.sort();
        offsets.dedup();
        assert_eq!(offsets.len(), 8000, "each is parked, and once");
        assert_eq!(fixture.store.shelved().len(), 8000);
        let counts = fixture.conservation();
        assert_eq!(counts.read, counts.settled.total() + counts.given_up, "conservation");
        assert_eq!(counts.settled.parked, 8000);
    }
}
