//! The dead-letter budget in the database: what counts, who stops the pipeline, what a restart and
//! a new beginning know of it.

use std::time::Duration;

use longshore::postgres::budget::DeadLetterBudget;
use longshore::postgres::connect::SessionSettings;
use longshore::postgres::pipelines;
use longshore::postgres::pool::QueryPool;
use longshore_actors::batch::WorkedBatch;
use longshore_actors::parked::RetryPolicy;
use longshore_actors::ports::{Acquired, BatchReport, Halt, SessionId, Store};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::support::*;

/// Half of a hundred.
const BUDGET: DeadLetterBudget = DeadLetterBudget { ratio: 0.5, window: 100, per_minute: 60_000 };

const DEAD: &str = "select count(*) from longshore.parked_records where state = 'dead'";
const COUNTED: &str = "select sum(dead_records)::bigint from longshore.offsets";

async fn with_budget(budget: DeadLetterBudget) -> Option<Database> {
    let mut database = database().await?;
    database.rules.budget = Some(budget);
    Some(database)
}

/// `n` things from `from` on, of which each for which `is_dead` holds is rejected.
fn things(from: i64, n: i64, is_dead: impl Fn(i64) -> bool) -> Vec<Value> {
    let thing = |at| if is_dead(at) { json!({"id": 13}) } else { json!({"id": 1000 + at}) };
    (from..from + n).map(thing).collect()
}

fn halted(report: &BatchReport) -> &Halt {
    let BatchReport::Halted(halt) = report else { panic!("not left out: {report:?}") };
    halt
}

/// The pipeline's state and reason.
async fn state(database: &Database) -> (String, String) {
    let sql = "select state, coalesce(reason, '') from longshore.pipelines";
    let row = database.client.query_opt(sql, &[]).await.unwrap();
    row.map_or(("running".to_owned(), String::new()), |row| (row.get(0), row.get(1)))
}

async fn resume(database: &Database) {
    let settings = SessionSettings::with_statement_timeout(Duration::from_secs(30));
    let pool = QueryPool::new(&database.options, settings, 1, &Handle::current());
    let mut conn = pool.get().await.unwrap();
    let names = ["things".to_owned()];
    pipelines::set(&mut conn, "me", &names, "running", "resumed by me").await.unwrap();
}

#[actix::test]
async fn the_batch_that_crosses_the_limit_is_saved_and_those_behind_it_are_left_out() {
    let Some(database) = with_budget(BUDGET).await else { return };
    let (store, make) = (database.store("a", &Broker::new(1)), Maker::new());
    let fence = held(&store, 0).await;
    let group: Vec<WorkedBatch> =
        (0..6).map(|n| make.batch(&fence, n * 20, &things(n * 20, 20, |_| true))).collect();
    let reports = store.save(SessionId(0), &group).await.unwrap();
    for report in &reports[..3] {
        assert_eq!(*report, BatchReport::Saved(settled(0, 0, 20)));
    }
    for report in &reports[3..] {
        assert!(halted(report).reason.contains("60 of the last 60 records are dead"), "{report:?}");
    }
    assert_eq!((database.number(DEAD).await, database.next_offset(0).await), (60, 60));
    let (state, reason) = state(&database).await;
    assert_eq!(state, "stopped");
    for words in ["60 of the last 60", "ratio = 0.5", "window = 100", "\"unlucky\"", "parked list"]
    {
        assert!(reason.contains(words), "{words}: {reason}");
    }
    let audit = "select who || ' ' || command || ' ' || num_rows from longshore.audit";
    assert_eq!(database.texts(audit).await, ["a dead-letter budget 60"]);
    // Nothing goes in any more, over whichever session, and whoever acquires is told.
    let one = [make.batch(&fence, 60, &things(60, 1, |_| false))];
    let reports = store.save(SessionId(1), &one).await.unwrap();
    assert!(halted(&reports[0]).reason.contains("pipelines resume things"), "{reports:?}");
    let seen = store.look(std::slice::from_ref(&fence)).await.unwrap();
    assert!(seen[0].halt.as_ref().is_some_and(|halt| !halt.is_paused));
    let other = database.store("b", &Broker::new(1));
    let answers = other.acquire(&[self::fence(0)]).await.unwrap();
    let Acquired::Held(holding) = &answers[0] else { panic!("{answers:?}") };
    assert_eq!(holding.halt, seen[0].halt);
    database.drop().await;
}

#[actix::test]
async fn what_the_database_refuses_and_what_dies_of_its_last_attempt_counts_too() {
    let Some(mut database) = with_budget(BUDGET).await else { return };
    database.rules.retry = RetryPolicy { attempts: 2, ..RetryPolicy::default() };
    let (store, make) = (database.store("a", &Broker::new(1)), Maker::new());
    let fence = held(&store, 0).await;
    set_up(false);
    let later: Vec<Value> = (0..10).map(|n| json!({"id": 10_000 + n, "name": "later"})).collect();
    save(&store, &[make.in_lanes(&fence, 0, &later)]).await;
    assert_eq!(database.number(COUNTED).await, 0, "what comes back is not dead");
    let refused: Vec<Value> = (0..45).map(|n| json!({"id": n + 100, "amount": -1})).collect();
    save(&store, &[make.batch(&fence, 10, &refused)]).await;
    assert_eq!((database.number(COUNTED).await, state(&database).await.0), (45, "running".into()));
    let now = "update longshore.parked_records set due_at = now() where state = 'retrying'";
    database.client.batch_execute(now).await.unwrap();
    let due = make.due(&store, &fence).await.unwrap();
    store.save(SessionId(0), &[due]).await.unwrap();
    assert_eq!((database.number(COUNTED).await, database.number(DEAD).await), (55, 55));
    assert_eq!(state(&database).await.0, "stopped");
    let moved = "select settled_records * 1000 + next_offset from longshore.offsets";
    assert_eq!(database.number(moved).await, 55_055, "a retry settles nothing twice");
    database.drop().await;
}

#[actix::test]
async fn what_the_database_refuses_stops_the_pipeline_in_the_same_transaction() {
    let Some(database) = with_budget(BUDGET).await else { return };
    let (store, make) = (database.store("a", &Broker::new(1)), Maker::new());
    let fence = held(&store, 0).await;
    let refused: Vec<Value> = (0..60).map(|n| json!({"id": n + 100, "amount": -1})).collect();
    save(&store, &[make.batch(&fence, 0, &refused)]).await;
    let (state, reason) = state(&database).await;
    assert_eq!(state, "stopped");
    assert!(reason.contains("things_amount_check"), "{reason}");
    database.drop().await;
}

#[actix::test]
async fn a_restart_goes_on_with_the_same_budget_and_a_resume_begins_a_new_one() {
    let Some(database) = with_budget(BUDGET).await else { return };
    let (broker, make) = (Broker::new(1), Maker::new());
    let (mut at, mut restarts) = (0, 0);
    while state(&database).await.0 == "running" {
        // Each of them parks ten, and is gone.
        let store = database.store(&format!("owner {restarts}"), &broker);
        let fence = held(&store, 0).await;
        save(&store, &[make.batch(&fence, at, &things(at, 10, |_| true))]).await;
        (at, restarts) = (at + 10, restarts + 1);
    }
    assert_eq!(restarts, 6, "the sixth one crosses fifty");
    resume(&database).await;
    let store = database.store("after", &broker);
    let fence = held(&store, 0).await;
    for n in 0..5 {
        let from = at + n * 10;
        save(&store, &[make.batch(&fence, from, &things(from, 10, |_| true))]).await;
    }
    assert_eq!(state(&database).await.0, "running", "fifty more are as many as it has");
    save(&store, &[make.batch(&fence, at + 50, &things(at + 50, 10, |_| true))]).await;
    assert_eq!(state(&database).await.0, "stopped");
    // One that goes on living hears of the new beginning in its next look.
    resume(&database).await;
    let seen = store.look(std::slice::from_ref(&fence)).await.unwrap();
    assert_eq!(seen[0].halt, None);
    save(&store, &[make.batch(&fence, at + 60, &things(at + 60, 10, |_| true))]).await;
    assert_eq!(state(&database).await.0, "running");
    database.drop().await;
}

#[actix::test]
async fn two_instances_draw_on_one_budget() {
    let Some(database) = with_budget(BUDGET).await else { return };
    let (broker, make) = (Broker::new(2), Maker::new());
    let (a, b) = (database.store("a", &broker), database.store("b", &broker));
    let (of_a, of_b) = (held(&a, 0).await, held(&b, 1).await);
    save(&a, &[make.batch(&of_a, 0, &things(0, 40, |_| true))]).await;
    // Its first look finds what the other one did.
    save(&b, &[make.batch(&of_b, 0, &things(500, 20, |_| true))]).await;
    assert_eq!(state(&database).await.0, "stopped");
    let seen = a.look(std::slice::from_ref(&of_a)).await.unwrap();
    assert!(seen[0].halt.is_some());
    let reports = a.save(SessionId(0), &[make.batch(&of_a, 40, &things(40, 1, |_| false))]).await;
    halted(&reports.unwrap()[0]);
    database.drop().await;
}

#[actix::test]
async fn one_in_ten_never_stops_it_and_few_samples_are_kept() {
    let Some(database) = with_budget(BUDGET).await else { return };
    let (store, make) = (database.store("a", &Broker::new(1)), Maker::new());
    let fence = held(&store, 0).await;
    for n in 0..60 {
        let batch = make.batch(&fence, n * 20, &things(n * 20, 20, |at| at % 10 == 3));
        save(&store, &[batch]).await;
        let older = "update longshore.budget_samples set at = at - interval '20 seconds'";
        database.client.batch_execute(older).await.unwrap();
    }
    assert_eq!(state(&database).await.0, "running");
    assert_eq!((database.number(DEAD).await, database.number(COUNTED).await), (120, 120));
    assert!(database.number("select count(*) from longshore.budget_samples").await > 0);
    database.drop().await;
}

#[actix::test]
async fn without_a_budget_everything_may_be_rejected() {
    let Some(database) = database().await else { return };
    let (store, make) = (database.store("a", &Broker::new(1)), Maker::new());
    let fence = held(&store, 0).await;
    save(&store, &[make.batch(&fence, 0, &things(0, 500, |_| true))]).await;
    assert_eq!((state(&database).await.0, database.number(COUNTED).await), ("running".into(), 500));
    database.drop().await;
}
