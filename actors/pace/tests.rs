//! The laws one by one, and permits that come home.

use super::*;
use crate::arena::{RecordArena, RecordParts};
use crate::format::Format;
use crate::parcel::Parcel;
use crate::record::Offset;
use crate::ticket::BudgetLimits;

const TARGET: Duration = Duration::from_millis(100);
const WHOLE: usize = 10_000;

fn rules() -> PaceRules {
    PaceRules {
        adapts: true,
        target: TARGET,
        linger: Bounds { min: Duration::from_millis(1), max: Duration::from_millis(51) },
        records: Bounds { min: 100, max: WHOLE },
        sessions: Bounds { min: 1, max: 4 },
    }
}

fn budget() -> Budget {
    Budget::new(BudgetLimits { records: 1000, bytes: 1000, batches: 10 })
}

fn pace() -> Pace {
    Pace::new(rules(), budget())
}

fn saved(pace: &Pace, records: usize, took: Duration) {
    pace.saved(Saved { records, took, age: took });
}

/// With a backlog, `transactions` of 1,000 records each by as many sessions as may, which bring
/// `rate` together.
async fn work(pace: &Pace, transactions: usize, rate: impl Fn(usize) -> f64) {
    let _backlog = pace.0.budget.try_take(900, 10);
    for _ in 0..transactions {
        let sessions = pace.now().sessions;
        let took = Duration::from_secs_f64(1000.0 * sessions as f64 / rate(sessions));
        tokio::time::advance(took / sessions as u32).await;
        saved(pace, 1000, took);
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_house_waits_for_nothing_and_a_busy_one_up_to_the_ceiling() {
    let pace = pace();
    assert_eq!(pace.now().linger, rules().linger.min);
    let busy: Vec<_> = (0..2).map(|n| pace.busy(SessionId(n))).collect();
    assert_eq!(pace.now().linger, rules().linger.min, "it has only begun");
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(pace.now().linger, Duration::from_millis(26), "two of four");
    let more: Vec<_> = (2..4).map(|n| pace.busy(SessionId(n))).collect();
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(pace.now().linger, rules().linger.max);
    drop((busy, more));
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(pace.now().linger, rules().linger.min);
}

#[tokio::test(start_paused = true)]
async fn tickets_that_are_out_and_cpu_that_is_used_are_pressure_too() {
    let budget = budget();
    let pace = Pace::new(rules(), budget.clone());
    let ticket = budget.try_take(500, 10);
    assert_eq!(pace.now().linger, Duration::from_millis(26));
    pace.set_cpu(0.8);
    assert_eq!(pace.now().linger, Duration::from_millis(41));
    let mut huge = budget.try_take(1, 1).expect("there is room");
    huge.correct(1, 5000);
    assert_eq!(pace.now().linger, rules().linger.max);
    drop((ticket, huge));
    pace.set_cpu(0.0);
    assert_eq!(pace.now().linger, rules().linger.min);
}

#[tokio::test(start_paused = true)]
async fn a_transaction_has_as_many_records_as_fit_into_the_target() {
    let pace = pace();
    saved(&pace, WHOLE, TARGET * 4);
    assert_eq!(pace.now().records, WHOLE / 4);
    saved(&pace, WHOLE / 4, TARGET);
    assert_eq!(pace.now().records, WHOLE / 4, "it fits");
    saved(&pace, 10, TARGET / 2);
    assert_eq!(pace.now().records, WHOLE / 4, "the limit was not in its way");
    saved(&pace, WHOLE / 4, TARGET / 100);
    assert_eq!(pace.now().records, WHOLE / 2, "twofold at most");
    saved(&pace, WHOLE / 2, TARGET / 100);
    saved(&pace, WHOLE, TARGET / 100);
    assert_eq!(pace.now().records, WHOLE, "no more than the ceiling");
    saved(&pace, 1, TARGET * 1000);
    assert_eq!(pace.now().records, rules().records.min, "no fewer than the floor");
    saved(&pace, 0, Duration::ZERO);
    assert_eq!(pace.now().records, rules().records.min);
}

#[tokio::test(start_paused = true)]
async fn where_a_commit_is_slow_transactions_stay_large() {
    let pace = pace();
    let cost = |records: usize| TARGET * 3 + Duration::from_micros(5) * records as u32;
    for _ in 0..40 {
        let records = pace.now().records;
        saved(&pace, records, cost(records));
    }
    let records = pace.now().records;
    assert!(records >= WHOLE / 2, "{records}: smaller ones were hardly faster");
    // It is fast again: the target holds, and this is within it.
    for _ in 0..40 {
        let records = pace.now().records;
        saved(&pace, records, Duration::from_micros(5) * records as u32);
    }
    assert_eq!(pace.now().records, WHOLE);
    // And what is slow by its records gets fewer of them.
    for _ in 0..40 {
        let records = pace.now().records;
        saved(&pace, records, Duration::from_micros(50) * records as u32);
    }
    let records = pace.now().records;
    assert!((1500..=2500).contains(&records), "{records} of 50 us each, for {TARGET:?}");
}

#[tokio::test(start_paused = true)]
async fn sessions_that_bring_nothing_are_taken_away_and_others_are_added() {
    let pace = pace();
    // Two sessions are as good as more.
    work(&pace, 200, |sessions| 10_000.0 * sessions.min(2) as f64).await;
    assert_eq!(pace.now().sessions, 2);
    // Each brings its share.
    work(&pace, 4000, |sessions| 10_000.0 * sessions as f64).await;
    assert_eq!(pace.now().sessions, 4);
    // Each one is in the way of the others.
    work(&pace, 4000, |sessions| 10_000.0 / sessions as f64).await;
    assert_eq!(pace.now().sessions, 1);
}

#[tokio::test(start_paused = true)]
async fn a_database_that_becomes_slow_is_met_by_half_of_the_sessions() {
    let pace = pace();
    let each = |rate: f64| move |sessions: usize| rate * sessions as f64;
    work(&pace, 200, each(10_000.0)).await;
    assert_eq!(pace.now().sessions, 4);
    let mut fewest = 4;
    for _ in 0..60 {
        work(&pace, 1, each(2000.0)).await;
        fewest = fewest.min(pace.now().sessions);
    }
    assert_eq!(fewest, 2);
    work(&pace, 400, each(10_000.0)).await;
    assert_eq!(pace.now().sessions, 4);
}

#[tokio::test(start_paused = true)]
async fn an_outage_leaves_one_session_to_try_and_they_come_back_without_being_needed() {
    let pace = pace();
    (0..5).for_each(|_| pace.outage());
    assert_eq!(pace.now().sessions, 1);
    // One small transaction a second: nothing is known of more sessions, nor asked.
    for _ in 0..60 {
        tokio::time::advance(Duration::from_secs(1)).await;
        saved(&pace, 1, Duration::from_millis(2));
    }
    assert_eq!(pace.lock().crew.permitted(), 4);
    assert_eq!(pace.now().sessions, 1, "so little is not spread");
}

/// Without a backlog, `seconds` of transactions a second of 1,000 records each; by how many
/// sessions they are saved says how old they are.
async fn trickle(pace: &Pace, seconds: u32, a_second: u32, age_ms: impl Fn(usize) -> u64) {
    for _ in 0..seconds * a_second {
        tokio::time::advance(Duration::from_secs(1) / a_second).await;
        let age = Duration::from_millis(age_ms(pace.now().sessions));
        pace.saved(Saved { records: 1000, took: Duration::from_millis(40), age });
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_in_is_saved_by_the_fewest_with_which_it_is_saved_soonest() {
    let budget = budget();
    let pace = Pace::new(rules(), budget.clone());
    for (a_second, ages, sessions) in [
        (20, [300, 90, 85, 140], 2),
        (20, [300, 130, 80, 140], 3),
        (40, [90, 80, 75, 140], 1),
        (40, [900, 700, 400, 140], 4),
        (10, [52, 51, 50, 49], 1),
    ] {
        let pace = Pace::new(rules(), budget.clone());
        trickle(&pace, 10, a_second, |sessions| ages[sessions - 1]).await;
        assert_eq!(pace.now().sessions, sessions, "{ages:?}");
    }
    // What is known does not hold for another load.
    trickle(&pace, 10, 20, |sessions| [300, 90, 95, 140][sessions - 1]).await;
    assert_eq!(pace.now().sessions, 2);
    trickle(&pace, 10, 50, |sessions| [500, 400, 120, 140][sessions - 1]).await;
    assert_eq!(pace.now().sessions, 3);
    let backlog = budget.try_take(900, 10);
    saved(&pace, 1000, Duration::from_millis(40));
    assert_eq!(pace.now().sessions, 3, "it may be over in a moment");
    tokio::time::advance(Duration::from_secs(1)).await;
    saved(&pace, 1000, Duration::from_millis(40));
    assert_eq!(pace.now().sessions, 4, "all at once");
    drop(backlog);
    trickle(&pace, 10, 50, |sessions| [50, 400, 120, 140][sessions - 1]).await;
    assert_eq!(pace.now().sessions, 4, "three could not keep up");
}

#[tokio::test(start_paused = true)]
async fn partitions_are_spread_over_the_sessions_in_use_but_not_to_one_that_is_stuck() {
    let pace = pace();
    let partition = |index| PartitionId::new("t", index);
    let all = || (0..12).map(|index| pace.session_of(&partition(index))).collect::<Vec<_>>();
    let count = |session| all().iter().filter(|of| **of == SessionId(session)).count();
    assert_eq!([0, 1, 2, 3].map(count), [3, 3, 3, 3]);
    trickle(&pace, 10, 20, |sessions| [90, 50, 90, 90][sessions - 1]).await;
    assert_eq!([0, 1, 2, 3].map(count), [6, 6, 0, 0]);
    let waits_for_a_lock = pace.busy(SessionId(1));
    tokio::time::advance(TARGET * PATIENCE_TARGETS).await;
    assert_eq!([0, 1, 2, 3].map(count), [6, 6, 0, 0]);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!([0, 1, 2, 3].map(count), [6, 0, 6, 0]);
    drop(waits_for_a_lock);
    assert_eq!([0, 1, 2, 3].map(count), [6, 6, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn permits_are_as_many_as_sessions_however_often_these_change() {
    let pace = pace();
    let out: Vec<_> = (0..4).map(|_| pace.try_permit().expect("one of four")).collect();
    pace.outage();
    assert!(pace.try_permit().is_none());
    drop(out);
    let out: Vec<_> = std::iter::from_fn(|| pace.try_permit()).collect();
    assert_eq!(out.len(), 2, "two came home and two ended");
    pace.outage();
    drop(out);
    assert_eq!(std::iter::from_fn(|| pace.try_permit()).collect::<Vec<_>>().len(), 1);
    for _ in 0..30 {
        tokio::time::advance(Duration::from_secs(1)).await;
        saved(&pace, 1, Duration::from_millis(2));
    }
    assert_eq!(std::iter::from_fn(|| pace.try_permit()).collect::<Vec<_>>().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn the_longest_waiting_one_is_served_first_and_nobody_waits_for_ever() {
    let pace = Pace::new(PaceRules { sessions: Bounds { min: 1, max: 1 }, ..rules() }, budget());
    let held = pace.try_permit().expect("it is free");
    let (mut first, mut second) =
        (Box::pin(pace.clone().permit()), Box::pin(pace.clone().permit()));
    assert!(futures_util::poll!(&mut first).is_pending());
    assert!(futures_util::poll!(&mut second).is_pending());
    drop(held);
    assert!(futures_util::poll!(&mut second).is_pending(), "it is not its turn");
    let began = Instant::now();
    let first = first.await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    let late = second.await;
    assert_eq!(began.elapsed(), TARGET * PATIENCE_TARGETS);
    drop(late);
    assert!(pace.try_permit().is_none(), "who went without one brings none home");
    drop(first);
    assert!(pace.try_permit().is_some());
}

#[tokio::test(start_paused = true)]
async fn switched_off_everything_stays_at_its_ceiling() {
    let pace = Pace::new(PaceRules { adapts: false, ..rules() }, budget());
    let ceiling = PaceNow { linger: rules().linger.max, records: WHOLE, sessions: 4 };
    assert_eq!(pace.now(), ceiling);
    pace.outage();
    pace.too_slow(WHOLE);
    work(&pace, 100, |_| 1.0).await;
    assert_eq!(pace.now(), ceiling);
    assert_eq!(pace.transaction_company().patience, Duration::ZERO);
    assert_eq!(std::iter::from_fn(|| pace.try_permit()).collect::<Vec<_>>().len(), 4);
}

/// `records` without a value, which take 64 bytes of memory each at most.
fn parcel(budget: &Budget, records: usize) -> Parcel {
    let mut arena = RecordArena::with_capacity(records, 0, Format::Json);
    for offset in 0..records as i64 {
        let offset = Offset(offset);
        arena.push(RecordParts { offset, timestamp_ms: None, key: None, value: None });
    }
    assert!(arena.allocated_bytes() <= records * 64);
    Parcel::new(arena, budget.try_take(0, 0).expect("there is room"))
}

#[tokio::test(start_paused = true)]
async fn what_is_ready_waits_for_company_and_longer_with_a_backlog() {
    let limits = BudgetLimits { records: 8000, bytes: 1 << 20, batches: 10 };
    let budget = Budget::new(limits);
    let pace = Pace::new(rules(), budget.clone());
    let is_enough =
        |company: Company, records| company.is_enough(std::iter::once(&parcel(&budget, records)));
    let (small, linger) = (pace.transaction_company(), pace.now().linger);
    assert_eq!((small, small.patience), (pace.query_company(), linger / 10));
    assert!(is_enough(small, 5000) && !is_enough(small, 4999));
    pace.set_waiting(limits.records);
    assert_eq!(pace.transaction_company(), small, "the server has nothing to do");
    let busy = [0, 1].map(|n| pace.busy(SessionId(n)));
    let (query, transaction) = (pace.query_company(), pace.transaction_company());
    assert_eq!((query.patience, transaction.patience), (TARGET / 2, TARGET / 2));
    assert!(is_enough(query, 1000) && !is_enough(query, 999), "an eighth of the tickets");
    assert!(is_enough(transaction, 750) && !is_enough(transaction, 749), "a quarter of three");
    pace.set_waiting(limits.records - 1);
    assert_eq!(pace.transaction_company(), pace.query_company(), "no backlog");
    let held = budget.try_take(limits.records / 2, 1);
    assert_eq!(pace.transaction_company(), transaction, "half of the tickets are out");
    saved(&pace, 500, TARGET * 2);
    assert!(is_enough(pace.transaction_company(), 250), "no transaction may have more");
    drop((busy, held));
}

#[tokio::test(start_paused = true)]
async fn large_records_are_enough_by_their_bytes() {
    let budget = Budget::new(BudgetLimits { records: 8000, bytes: 80_000, batches: 10 });
    let pace = Pace::new(rules(), budget.clone());
    pace.set_waiting(8000);
    let _busy = [0, 1].map(|n| pace.busy(SessionId(n)));
    let mut arena = RecordArena::with_capacity(1, 10_000, Format::Json);
    let value = Some(&[0; 10_000][..]);
    arena.push(RecordParts { offset: Offset(0), timestamp_ms: None, key: None, value });
    let large = Parcel::new(arena, budget.try_take(1, 10_000).expect("there is room"));
    assert!(pace.query_company().is_enough(std::iter::once(&large)));
    assert!(pace.transaction_company().is_enough(std::iter::once(&large)));
}
