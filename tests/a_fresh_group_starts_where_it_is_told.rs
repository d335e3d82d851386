//! A fresh group starts where it is told, a partition added later starts at its beginning, and a
//! stored offset that the topic no longer has stops the partition with the ways out in the message.

mod support;

use support::records::{Mix, Sent};
use support::service::Service;
use support::stage::Stage;

#[test]
fn at_the_offsets_its_group_committed_and_else_at_the_earliest() {
    let Some(stage) = Stage::set(3) else { return };
    let sent = stage.send(61, Mix::USUAL, 900);
    stage.topic.commit_as(&stage.group, &[(0, 100), (2, 300)]);
    stage.service().run_until_end();
    let first_of = |partition| [100, 0, 300][partition as usize];
    stage.exact(&from(&sent, first_of));
}

#[test]
fn at_the_earliest_though_its_group_committed() {
    let Some(stage) = Stage::set(2) else { return };
    let sent = stage.send(62, Mix::USUAL, 400);
    stage.topic.commit_as(&stage.group, &[(0, 100)]);
    starting(&stage, "earliest").run_until_end();
    stage.exact(&sent);
}

#[test]
fn at_the_latest_without_what_was_there() {
    let Some(stage) = Stage::set(2) else { return };
    let mut records = stage.generator(63, Mix::USUAL);
    stage.topic.send(records.records(400));
    starting(&stage, "latest").run_until_end();
    stage.exact(&[]);
    let mut sent = Vec::new();
    stage.send_more(&mut sent, records.records(400));
    starting(&stage, "latest").run_until_end();
    // The generator may repeat what was never read: that repeat is no duplicate.
    stage.exact(&sent);
}

#[test]
fn a_stored_offset_wins_over_what_is_told_and_what_is_committed() {
    let Some(stage) = Stage::set(2) else { return };
    let mut records = stage.generator(64, Mix::USUAL);
    let mut sent = stage.topic.send(records.records(400));
    stage.service().run_until_end();
    stage.send_more(&mut sent, records.records(400));
    stage.topic.commit_as(&stage.group, &[(0, 10), (1, 400)]);
    starting(&stage, "latest").run_until_end();
    stage.exact(&sent);
}

#[test]
fn a_partition_added_later_starts_at_its_earliest() {
    let Some(stage) = Stage::set(2) else { return };
    let mut records = stage.generator(65, Mix::USUAL);
    stage.topic.send(records.records(100));
    starting(&stage, "latest").run_until_end();
    stage.topic.grow(4);
    let sent = stage.topic.send(stage.generator(66, Mix::USUAL).records(800));
    starting(&stage, "latest").run_until_end();
    stage.exact(&sent);
}

#[test]
fn a_partition_added_to_a_running_service_starts_at_its_earliest() {
    let Some(stage) = Stage::set(1) else { return };
    let latest = starting(&stage, "latest");
    let quick = latest.set("kafka.properties", "\"topic.metadata.refresh.interval.ms\"", "\"500\"");
    let mut service = quick.start(&["run"]);
    service.runs_until("it has acquired the first partition", || stage.owners() == 1);
    stage.topic.grow(3);
    let sent = stage.send(67, Mix::USUAL, 600);
    stage.await_end(&mut service);
    service.terminate().expect_code(0);
    stage.exact(&sent);
}

#[test]
fn a_topic_made_anew_stops_with_the_ways_out() {
    let Some(stage) = Stage::set(2) else { return };
    let sent = stage.send(68, Mix::USUAL, 400);
    stage.service().run_until_end();
    let ends = stage.topic.ends();
    stage.topic.delete();
    stage.topic.create(2, &[]);
    // More than before, so that the stored offsets lie inside of the new topic.
    stage.send(69, Mix::USUAL, 1_000);
    let finished = stage.service().finish(&["run", "--until-end"]).expect_code(1);
    finished.expect_word(&stage.topic.name).expect_word("offsets set");
    // Nothing of the new topic was taken for the rest of the old one.
    let stored = stage.settled();
    assert_eq!(stored, ends.values().sum::<i64>());
    let rows = stage.database.number("select count(*) from ads.enriched_events");
    assert!(rows as usize <= sent.len());
}

#[test]
fn a_stored_offset_that_retention_has_overtaken_stops_with_the_ways_out() {
    let Some(stage) = Stage::set(1) else { return };
    stage.send(70, Mix::CLEAN, 100);
    stage.service().run_until_end();
    stage.send(71, Mix::CLEAN, 100);
    stage.topic.delete_before(0, 150);
    let finished = stage.service().finish(&["run", "--until-end"]).expect_code(1);
    finished.expect_word(&stage.topic.name).expect_word("offsets set");
    assert_eq!(stage.settled(), 100, "the offset stays where it was");
    assert_eq!(stage.database.number("select count(*) from ads.enriched_events"), 100);
}

#[test]
fn one_stopped_partition_does_not_stop_the_others() {
    let Some(stage) = Stage::set(2) else { return };
    let mut records = stage.generator(72, Mix::CLEAN);
    let mut sent = stage.topic.send(records.records(200));
    stage.service().run_until_end();
    stage.send_more(&mut sent, records.records(200));
    stage.topic.delete_before(0, 150);
    stage.service().finish(&["run", "--until-end"]).expect_code(1);
    let saved = sent.iter().filter(|one| one.draft.partition == 1 || one.offset < 100).count();
    assert_eq!(stage.database.number("select count(*) from ads.enriched_events"), saved as i64);
    assert_eq!(stage.settled(), 300);
}

/// The service with a start for groups that have no stored offsets.
fn starting(stage: &Stage, start: &str) -> Service {
    stage.service().set("pipelines.ads", "start", &format!("\"{start}\""))
}

/// What was sent from the first offset of each partition on.
fn from(sent: &[Sent], first_of: impl Fn(i32) -> i64) -> Vec<Sent> {
    let is_later = |one: &&Sent| one.offset >= first_of(one.draft.partition);
    sent.iter().filter(is_later).cloned().collect()
}
