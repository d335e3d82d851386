//! Parked records in the hands of a person: looked at, sent again once the cause is mended, thrown
//! away, exported; and a pipeline that is paused and resumed.

mod support;

use support::records::{Mix, Sent};
use support::service::Finished;
use support::stage::Stage;

/// Every second campaign is unknown at first.
const HIDE: &str = "
    create table hidden as select * from ads.campaigns where id % 4 = 0;
    delete from ads.campaigns where id % 4 = 0";

const MEND: &str = "insert into ads.campaigns select * from hidden";

/// Half of the records are parked, because their campaigns are unknown.
fn half_parked() -> Option<(Stage, Vec<Sent>, i64)> {
    let stage = Stage::set(3)?;
    stage.database.run(HIDE);
    let sent = stage.send(101, Mix::CLEAN, 600);
    stage.service().run_until_end();
    let dead = count(&stage, "dead");
    assert!(dead > 100 && dead < 500, "{dead}");
    Some((stage, sent, dead))
}

fn count(stage: &Stage, state: &str) -> i64 {
    let sql = format!("select count(*) from longshore.parked_records where state = '{state}'");
    stage.database.number(&sql)
}

fn parked(stage: &Stage, arguments: &[&str]) -> Finished {
    stage.service().finish(&[&["parked"], arguments].concat()).expect_code(0)
}

#[test]
fn what_was_mended_is_sent_again_and_saved_once() {
    let Some((stage, sent, dead)) = half_parked() else { return };
    let mut service = stage.service().start(&["run"]);
    stage.database.run(MEND);
    let of = ["retry", "ads", "--reason", "unknown campaign"];
    parked(&stage, &[&of[..], &["--dry-run"]].concat()).expect_word("nothing was changed");
    assert_eq!(count(&stage, "dead"), dead, "a dry run changes nothing");
    parked(&stage, &[&of[..], &["--yes"]].concat()).expect_word(&dead.to_string());
    service.runs_until("all are saved", || stage.database.number(ALL_PARKED) == 0);
    parked(&stage, &[&of[..], &["--yes"]].concat()).expect_word("no parked record fits");
    service.terminate().expect_code(0);
    stage.exact(&sent);
    let noted = "select num_rows from longshore.audit where command = 'parked retry'";
    assert_eq!(stage.database.number(noted), dead);
}

const ALL_PARKED: &str = "select count(*) from longshore.parked_records";

#[test]
fn what_was_not_mended_is_dead_again() {
    let Some((stage, _, dead)) = half_parked() else { return };
    parked(&stage, &["retry", "ads", "--yes"]);
    assert_eq!(count(&stage, "retrying"), dead);
    stage.service().run_until_end();
    assert_eq!(count(&stage, "dead"), dead);
}

#[test]
fn records_are_listed_shown_exported_and_thrown_away() {
    let Some((stage, _, dead)) = half_parked() else { return };
    let id = stage.database.number("select min(id) from longshore.parked_records").to_string();
    parked(&stage, &["list", "ads", "--state", "dead"]).expect_word("unknown campaign");
    let listed = parked(&stage, &["list", "--json", "--limit", "100000"]).stdout;
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    assert_eq!(listed.as_array().map(Vec::len), usize::try_from(dead).ok());
    parked(&stage, &["show", &id]).expect_word("\"campaign_id\"").expect_word("1 attempts");
    let exported = parked(&stage, &["export"]).stdout;
    assert_eq!(exported.lines().count() as i64, dead);
    let first: serde_json::Value =
        serde_json::from_str(exported.lines().next().unwrap_or_default()).expect("JSON");
    assert!(first["value"].as_str().is_some_and(|value| value.contains("campaign_id")));
    stage.service().finish(&["parked", "discard"]).expect_code(2).expect_word("--all");
    parked(&stage, &["discard", "--id", &id, "--yes"]).expect_word("1 records are thrown away");
    parked(&stage, &["discard", "--all", "--yes"]);
    assert_eq!(stage.database.number(ALL_PARKED), 0);
    stage.service().finish(&["parked", "show", &id]).expect_code(1).expect_word("longshore.audit");
    let noted =
        "select sum(num_rows)::bigint from longshore.audit where command = 'parked discard'";
    assert_eq!(stage.database.number(noted), dead);
}

#[test]
fn a_paused_pipeline_reads_nothing_until_it_is_resumed() {
    let Some(stage) = Stage::set(3) else { return };
    let mut sent = stage.send(102, Mix::USUAL, 300);
    let mut service = stage.service().start(&["run"]);
    stage.await_end(&mut service);
    let pipelines = |arguments: &[&str]| {
        stage.service().finish(&[&["pipelines"], arguments].concat()).expect_code(0)
    };
    pipelines(&["pause", "ads", "--yes"]).expect_word("paused");
    service.writes("is paused");
    stage.send_more(&mut sent, stage.generator(103, Mix::USUAL).records(300));
    // One that starts now finds it paused.
    let mut second = stage.service().start(&["run"]);
    second.writes("partitions assigned");
    second.writes("is paused");
    assert_eq!(stage.settled(), 300, "nothing more is read");
    pipelines(&["show", "--json"]).expect_word("paused by");
    pipelines(&["resume", "ads", "--yes"]).expect_word("running");
    stage.await_end(&mut service);
    second.terminate().expect_code(0);
    service.terminate().expect_code(0);
    stage.exact(&sent);
}
