//! Promise: whatever a save's answer is, every record is settled once, and the counters say how.

mod house;

use std::time::Duration;

use house::{Fixture, ROOMY, counting};
use longshore_actors::pipeline::Order;
use longshore_actors::record::PartitionId;
use longshore_actors::testing::{Fault, tally_value};

const LATENCY: Duration = Duration::from_millis(3);

#[actix::test]
async fn all_records_of_all_partitions_are_saved_and_every_ticket_comes_home() {
    tokio::time::pause();
    let mut fixture = Fixture::new(Order::Unordered, ROOMY, LATENCY, counting(5, 1000));
    fixture.run_until(Fixture::is_at_the_end).await;
    fixture.run_until(|f| f.conservation().in_flight() == 0).await;
    fixture.assert_each_once();
    let counts = fixture.conservation();
    assert_eq!((counts.read, counts.settled.saved, counts.given_up), (5000, 5000, 0));
}

#[actix::test]
async fn outages_and_unknown_outcomes_lose_nothing_and_double_nothing() {
    tokio::time::pause();
    let kinds = [Fault::Retry, Fault::CommittedUnheard, Fault::RolledBackUnheard];
    for seed in 0..200_usize {
        let mut fixture = Fixture::new(Order::ByKey, ROOMY, LATENCY, counting(3, 400));
        let faults =
            (0..12).map(|n| kinds[(seed / 3_usize.pow(n % 5) + seed * n as usize) % 3].clone());
        fixture.store.order_faults(faults);
        fixture.run_until(Fixture::is_at_the_end).await;
        fixture.run_until(|f| f.conservation().in_flight() == 0).await;
        fixture.assert_each_once();
        assert_eq!(fixture.conservation().settled.saved, 1200, "seed {seed}");
        drop(fixture);
    }
}

#[actix::test]
async fn a_rejected_a_skipped_and_a_panicking_record_cost_only_themselves() {
    tokio::time::pause();
    let partition = PartitionId::new("t", 0);
    let mut values = counting(1, 100);
    let records = values.get_mut(&partition).expect("it is there");
    (records[10], records[20], records[30]) =
        (tally_value(1, -1), tally_value(1, -2), tally_value(1, -3));
    records[40] = b"{".to_vec();
    let mut fixture = Fixture::new(Order::ByKey, ROOMY, LATENCY, values);
    fixture.run_until(Fixture::is_at_the_end).await;
    fixture.run_until(|f| f.conservation().in_flight() == 0).await;

    let mut parked = fixture.store.parked();
    parked.sort_by_key(|(_, offset, _)| *offset);
    let reasons: Vec<_> = parked.iter().map(|(_, o, reason)| (o.0, reason.as_str())).collect();
    assert_eq!(reasons, [(10, "panic"), (20, "number"), (40, "malformed")]);
    let settled = fixture.conservation().settled;
    assert_eq!((settled.saved, settled.skipped, settled.parked), (96, 1, 3));
    assert_eq!(fixture.store.rows().len(), 96, "no row of a refused record");
}

#[actix::test]
async fn a_save_that_can_never_succeed_stops_its_partitions_and_leaves_their_offset() {
    tokio::time::pause();
    let mut fixture = Fixture::new(Order::ByKey, ROOMY, LATENCY, counting(1, 100));
    fixture.store.order_faults([Fault::Stop]);
    fixture.run_until(|f| f.source.stopped(&f.doors[0]).is_some()).await;
    fixture.run_until(|f| f.conservation().in_flight() == 0).await;
    assert_eq!(fixture.store.next_offset(&PartitionId::new("t", 0)).map(|next| next.0), Some(0));
    let counts = fixture.conservation();
    assert_eq!((counts.read, counts.given_up), (100, 100));
    assert_eq!(fixture.doors[0].batches_in_hand(), 0);
}
