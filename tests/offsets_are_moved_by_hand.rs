//! Offsets that an operator moves: running owners go on from there by themselves, a stopped
//! partition goes on again, and nothing is skipped or read again without being told.

mod support;

use support::records::{Mix, Sent};
use support::service::{Finished, Process};
use support::stage::Stage;

#[test]
fn a_dry_run_says_what_it_would_do_and_changes_nothing() {
    let Some(stage) = Stage::set(2) else { return };
    let sent = stage.send(81, Mix::USUAL, 400);
    stage.service().run_until_end();
    let before = rows(&stage);
    let parked = stage.database.number("select count(*) from longshore.parked_records");
    set(&stage, &["--to", "earliest", "--dry-run"])
        .expect_code(0)
        .expect_word(&stage.topic.name)
        .expect_word(&parked.to_string());
    assert_eq!(rows(&stage), before);
    stage.exact(&sent);
}

#[test]
fn a_running_service_reads_again_from_where_it_is_moved_and_saves_nothing_twice() {
    let Some(stage) = Stage::set(3) else { return };
    let mut sent = stage.send(82, Mix::USUAL, 900);
    let mut service = stage.service().start(&["run"]);
    stage.await_end(&mut service);
    set(&stage, &["--to", "earliest", "--yes"]).expect_code(0);
    // Everything was settled anew: once more than there are records.
    service.runs_until("everything was read again", || settled_ever(&stage) == 1800);
    assert_eq!(stage.settled(), 900);
    stage.send_more(&mut sent, stage.generator(83, Mix::USUAL).records(300));
    stage.await_end(&mut service);
    service.terminate().expect_code(0);
    stage.exact(&sent);
    let noted = "select count(*) from longshore.audit where command = 'offsets set'";
    assert_eq!(stage.database.number(noted), 1);
}

#[test]
fn moved_forward_records_are_skipped_and_named_to_nobody() {
    let Some(stage) = Stage::set(1) else { return };
    let mut sent = stage.send(84, Mix::CLEAN, 100);
    stage.service().run_until_end();
    stage.topic.send(stage.generator(85, Mix::CLEAN).records(50));
    set(&stage, &["--to", "latest", "--yes"]).expect_code(0);
    stage.send_more(&mut sent, stage.generator(86, Mix::CLEAN).records(100));
    stage.service().run_until_end();
    stage.exact(&sent);
}

#[test]
fn a_partition_that_retention_has_overtaken_goes_on_when_it_is_moved() {
    let Some(stage) = Stage::set(2) else { return };
    stage.send(87, Mix::CLEAN, 200);
    stage.service().run_until_end();
    stage.send(88, Mix::CLEAN, 200);
    stage.topic.delete_before(0, 150);
    let mut service = stage.service().start(&["run"]);
    service.runs_until("the other partition is saved", || stage.settled() == 300);
    assert_eq!(stored(&stage, 0), 100, "never a silent skip");
    set(&stage, &["--to", "earliest", "--partition", "0", "--yes"]).expect_code(0);
    stage.await_end(&mut service);
    service.terminate().expect_code(0).expect_word("offsets set");
    assert_eq!(stage.settled(), 400);
    assert_eq!(rows(&stage), 350);
}

#[test]
fn a_topic_made_anew_under_a_running_service_stops_and_goes_on_when_it_is_moved() {
    let Some(stage) = Stage::set(2) else { return };
    let old = stage.send(89, Mix::CLEAN, 200);
    let mut service = noticing(&stage);
    stage.await_end(&mut service);
    stage.topic.delete();
    stage.topic.create(2, &[]);
    // More than before, so that the stored offsets lie inside of the new topic.
    let new = stage.topic.send(stage.generator(90, Mix::CLEAN).records(1000));
    service.writes("made anew");
    assert_eq!((stage.settled(), rows(&stage)), (200, old.len() as i64), "nothing of the new one");
    set(&stage, &["--to", "earliest", "--yes"]).expect_code(0);
    stage.await_end(&mut service);
    service.terminate().expect_code(0);
    assert_eq!(rows(&stage), distinct(&old, &new));
}

#[test]
fn a_place_that_is_none_is_refused_with_those_that_are() {
    let Some(stage) = Stage::set(2) else { return };
    stage.send(91, Mix::CLEAN, 100);
    let refused = |arguments: &[&str], word: &str| {
        set(&stage, arguments).expect_code(2).expect_word(word);
    };
    refused(&["--to", "1000", "--yes"], "offsets from 0 to 50");
    refused(&["--to", "-1", "--yes"], "offset");
    refused(&["--to", "yesterday", "--yes"], "earliest, latest");
    refused(&["--to", "earliest", "--partition", "7", "--yes"], "2 partitions");
    refused(&["--to", "earliest", "--topic", "other", "--yes"], &stage.topic.name);
    refused(&["--to", "earliest"], "--yes");
    assert_eq!(stage.database.number("select count(*) from longshore.offsets"), 0);
}

fn set(stage: &Stage, arguments: &[&str]) -> Finished {
    stage.service().finish(&[&["offsets", "set", "ads"], arguments].concat())
}

/// A running service that hears soon of what happens to its topic.
fn noticing(stage: &Stage) -> Process {
    let refresh = "\"topic.metadata.refresh.interval.ms\"";
    stage.service().set("kafka.properties", refresh, "\"500\"").start(&["run"])
}

fn rows(stage: &Stage) -> i64 {
    stage.database.number("select count(*) from ads.enriched_events")
}

fn stored(stage: &Stage, partition: i32) -> i64 {
    let of = format!("select next_offset from longshore.offsets where partition = {partition}");
    stage.database.number(&of)
}

/// All records that were ever settled, those that were read again too.
fn settled_ever(stage: &Stage) -> i64 {
    stage.database.number("select sum(settled_records)::bigint from longshore.offsets")
}

/// Clean records of two topics: all of them are rows.
fn distinct(old: &[Sent], new: &[Sent]) -> i64 {
    (old.len() + new.len()) as i64
}
