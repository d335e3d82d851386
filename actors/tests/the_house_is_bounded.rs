//! Promise: a slow store bounds the records and bytes in the house, whatever waits outside.

mod house;

use std::time::Duration;

use house::{Fixture, counting};
use longshore_actors::door::Front;
use longshore_actors::pipeline::Order;
use longshore_actors::ticket::BudgetLimits;

#[actix::test]
async fn a_slow_store_holds_reading_back_by_records_by_bytes_and_by_batches() {
    tokio::time::pause();
    let limits = [
        BudgetLimits { records: 200, bytes: 1 << 20, batches: 256 },
        BudgetLimits { records: 10_000, bytes: 3000, batches: 256 },
        BudgetLimits { records: 10_000, bytes: 1 << 20, batches: 3 },
    ];
    for limit in limits {
        let slow = Duration::from_millis(500);
        let mut fixture = Fixture::new(Order::Unordered, limit, slow, counting(4, 300));
        let front = fixture.house.front();
        let mut most = (0, 0);
        while !fixture.is_at_the_end() {
            fixture.step().await;
            let budget = front.budget();
            most = (most.0.max(budget.records_out()), most.1.max(budget.bytes_out()));
        }
        assert!(most.0 <= limit.records && most.1 <= limit.bytes, "{most:?} within {limit:?}");
        assert!(most.0 > 0, "something was read");
        fixture.assert_each_once();
        fixture.run_until(|f| f.house.front().budget().is_drained()).await;
    }
}
