//! Two instances share a topic: whoever joins, leaves, dies or freezes, every record is settled
//! once.

mod support;

use support::producers::Sender;
use support::records::{Generator, Mix, Sent};
use support::service::Service;
use support::stage::Stage;
use support::wait;

#[test]
fn a_second_one_joins_in_the_middle_and_leaves_cooperatively() {
    joins_and_leaves("cooperative-sticky");
}

#[test]
fn a_second_one_joins_in_the_middle_and_leaves_eagerly() {
    joins_and_leaves("range");
}

#[test]
fn both_until_the_end() {
    let Some(stage) = Stage::set(6) else { return };
    let sent = stage.send(52, Mix::USUAL, 60_000);
    let first = instance(&stage, "cooperative-sticky").start(&["run", "--until-end"]);
    let second = instance(&stage, "cooperative-sticky").start(&["run", "--until-end"]);
    first.wait().expect_code(0);
    second.wait().expect_code(0);
    stage.exact(&sent);
}

#[test]
fn a_killed_one_is_replaced_by_the_other() {
    let Some(stage) = Stage::set(6) else { return };
    let mut feed = Feed::of(&stage, 53);
    let service = instance(&stage, "cooperative-sticky");
    let mut first = service.start(&["run"]);
    let second = service.start(&["run"]);
    feed.until("both own partitions", || stage.owners() == 2);
    second.kill();
    feed.until("the survivor owns all", || stage.owners() == 1);
    stage.await_end(&mut first);
    first.terminate().expect_code(0);
    stage.exact(&feed.sent);
}

#[test]
fn a_frozen_one_is_fenced_when_it_thaws() {
    let Some(stage) = Stage::set(4) else { return };
    let mut feed = Feed::of(&stage, 54);
    let service = instance(&stage, "cooperative-sticky");
    let mut first = service.start(&["run"]);
    feed.until("the first one owns all and works", || stage.settled() > 500);
    let mut second = service.start(&["run"]);
    feed.until("both own partitions", || stage.owners() == 2);
    first.signal("STOP");
    feed.until("the second one owns all", || stage.owners() == 1);
    feed.until("the second one goes on", || stage.settled() > 1_000);
    first.signal("CONT");
    feed.until("the first one owns partitions again", || stage.owners() == 2);
    stage.await_end(&mut second);
    assert!(first.is_running(), "the fenced one must go on");
    first.terminate().expect_code(0);
    second.terminate().expect_code(0);
    stage.exact(&feed.sent);
}

#[test]
fn a_static_member_comes_back_to_its_partitions_and_nobody_else_had_them() {
    let Some(stage) = Stage::set(6) else { return };
    let mut feed = Feed::of(&stage, 55);
    let member = |name: &str| {
        instance(&stage, "cooperative-sticky")
            .set("kafka.properties", "\"group.instance.id\"", name)
            .set("kafka.properties", "\"session.timeout.ms\"", "\"30000\"")
    };
    let mut first = member("\"one\"").start(&["run"]);
    feed.until("the first one works", || stage.settled() > 500);
    let second = member("\"two\"").start(&["run"]);
    feed.until("both own partitions", || stage.owners() == 2);
    let before = epochs(&stage);
    second.terminate().expect_code(0);
    let second = member("\"two\"").start(&["run"]);
    feed.until("what left is back", || moved(&before, &epochs(&stage)) == [0, 0, 0, 1, 1, 1]);
    second.kill();
    let second = member("\"two\"").start(&["run"]);
    feed.until("what died is back", || moved(&before, &epochs(&stage)) == [0, 0, 0, 2, 2, 2]);
    stage.await_end(&mut first);
    assert_eq!(moved(&before, &epochs(&stage)), [0, 0, 0, 2, 2, 2], "nobody else had them");
    second.terminate().expect_code(0);
    first.terminate().expect_code(0);
    stage.exact(&feed.sent);
}

/// The epoch of each partition: how often it was taken over.
fn epochs(stage: &Stage) -> Vec<i64> {
    let rows = stage.database.query("select epoch from longshore.offsets order by partition", &[]);
    rows.iter().map(|row| row.get(0)).collect()
}

/// How often each partition was taken over since, in ascending order.
fn moved(before: &[i64], now: &[i64]) -> Vec<i64> {
    let mut moved = now.iter().zip(before).map(|(now, before)| now - before).collect::<Vec<_>>();
    moved.sort_unstable();
    moved
}

fn joins_and_leaves(strategy: &str) {
    let Some(stage) = Stage::set(6) else { return };
    let mut feed = Feed::of(&stage, 51);
    let service = instance(&stage, strategy);
    let mut first = service.start(&["run"]);
    feed.until("the first one works", || stage.settled() > 500);
    for _ in 0..2 {
        let second = service.start(&["run"]);
        feed.until("both own partitions", || stage.owners() == 2);
        second.terminate().expect_code(0);
        feed.until("the first one owns all again", || stage.owners() == 1);
    }
    stage.await_end(&mut first);
    first.terminate().expect_code(0);
    stage.exact(&feed.sent);
}

/// An instance whose broker notices in seconds what became of it.
fn instance(stage: &Stage, strategy: &str) -> Service {
    let strategy = format!("\"{strategy}\"");
    stage
        .slow_service()
        .set("kafka.properties", "\"partition.assignment.strategy\"", &strategy)
        .set("kafka.properties", "\"session.timeout.ms\"", "\"4000\"")
        .set("kafka.properties", "\"heartbeat.interval.ms\"", "\"500\"")
}

/// Records that keep coming while the group changes.
struct Feed {
    records: Generator,
    sender: Sender,
    sent: Vec<Sent>,
}

impl Feed {
    fn of(stage: &Stage, seed: u64) -> Self {
        let records = stage.generator(seed, Mix::USUAL);
        Self { records, sender: Sender::idempotent(&stage.topic), sent: Vec::new() }
    }

    /// Sends some records each time before it looks at the condition.
    fn until(&mut self, what: &str, mut condition: impl FnMut() -> bool) {
        wait::until(what, || {
            self.sent.extend(self.sender.send(self.records.records(60)));
            condition()
        });
    }
}
