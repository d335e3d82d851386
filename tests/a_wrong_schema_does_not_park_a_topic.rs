//! A pipeline that rejects everything stops early, says why wherever one looks, stays stopped until
//! a person lets it go on, and stops again if nothing was mended. One that rejects a tenth goes on.

mod support;

use support::http::Http;
use support::records::Mix;
use support::service::{Process, Service};
use support::stage::Stage;
use support::wait;

const DEAD: &str = "select count(*) from longshore.parked_records where state = 'dead'";
const STOPPED: &str = "select count(*) from longshore.pipelines where state = 'stopped'";

/// What a budget has by default: half of ten thousand.
const BUDGET: i64 = 5_000;

/// Records of a batch.
const BATCH: i64 = 500;

/// Nothing that can be read.
const WRONG: Mix = Mix { malformed: 1.0, ..Mix::CLEAN };

fn service(stage: &Stage) -> Service {
    stage.service().set("pipelines.ads.batch", "records", &BATCH.to_string())
}

/// Waits until the pipeline is stopped, and what was under way beside that is saved.
fn await_stop(stage: &Stage, process: &mut Process, before: i64) {
    process.runs_until("the pipeline is stopped", || stage.database.number(STOPPED) == 1);
    process.runs_until("all is saved", || stage.database.number(DEAD) - before > BUDGET);
}

fn resume(stage: &Stage) {
    service(stage).finish(&["pipelines", "resume", "ads", "--yes"]).expect_code(0);
}

#[test]
fn it_stops_early_says_why_and_stays_stopped_until_it_is_resumed() {
    let Some(stage) = Stage::set(4) else { return };
    stage.send(141, WRONG, 60_000);
    let mut process = service(&stage).start(&["run"]);
    let http = Http::of(&mut process);
    http.await_reason(&["ads is stopped", "most often", "parked list", "pipelines resume ads"]);
    await_stop(&stage, &mut process, 0);
    let parked = stage.database.number(DEAD);
    assert!((BUDGET + 1..=BUDGET + BATCH).contains(&parked), "{parked} are parked");
    assert_eq!(stage.settled(), parked, "and every one of them is passed");
    wait::until("the status shows it", || {
        let status = http.get("/api/status").json();
        let partitions = status["partitions"].as_array().expect("partitions").clone();
        let shows = |one: &serde_json::Value| {
            one["state"] == "stopped" && one["reason"].as_str().is_some_and(|r| r.contains("dead"))
        };
        status["pipelines"][0]["state"] == "stopped" && partitions.iter().all(shows)
    });
    let end = process.terminate().expect_code(0);
    assert!(end.says("WARN") && end.says("pipeline stopped"), "{}", end.stderr);
    service(&stage).finish(&["pipelines", "show"]).expect_word("stopped").expect_word("most often");
    // A restart is no way around it, whatever runs.
    let again = service(&stage).finish(&["run", "--until-end"]).expect_code(1);
    again.expect_word("ads is stopped").expect_word("most often");
    let mut process = service(&stage).start(&["run"]);
    Http::of(&mut process).await_reason(&["ads is stopped"]);
    assert_eq!(stage.database.number(DEAD), parked, "nothing more is parked");
    resume(&stage);
    process.runs_until("it goes on by itself", || stage.database.number(DEAD) > parked);
    await_stop(&stage, &mut process, parked);
    let twice = stage.database.number(DEAD);
    let new = BUDGET + 1..=BUDGET + BATCH;
    assert!(new.contains(&(twice - parked)), "{twice} after {parked}");
    let audit = "select count(*) from longshore.audit where command = 'dead-letter budget'";
    assert_eq!(stage.database.number(audit), 2);
    process.terminate().expect_code(0);
}

#[test]
fn a_run_until_the_end_fails_with_the_reason() {
    let Some(stage) = Stage::set(3) else { return };
    stage.send(142, WRONG, 20_000);
    let end = service(&stage).finish(&["run", "--until-end"]).expect_code(1);
    end.expect_word("ads is stopped").expect_word("pipelines resume ads");
    assert!(stage.database.number(DEAD) <= BUDGET + BATCH);
}

#[test]
fn what_the_database_refuses_stops_it_as_well() {
    let Some(stage) = Stage::set(2) else { return };
    stage.send(143, Mix { negative_costs: 1.0, ..Mix::CLEAN }, 12_000);
    let end = service(&stage).finish(&["run", "--until-end"]).expect_code(1);
    end.expect_word("enriched_events_cost_micros_check");
    // What is refused is known only after it was tried: of several partitions at once.
    let parked = stage.database.number(DEAD);
    assert!(parked > BUDGET && parked < 12_000, "{parked} are parked");
}

#[test]
fn one_in_ten_never_stops_it() {
    let Some(stage) = Stage::set(4) else { return };
    let sent = stage.send(144, Mix { malformed: 0.1, ..Mix::USUAL }, 40_000);
    service(&stage).run_until_end();
    assert_eq!(stage.database.number(STOPPED), 0);
    stage.exact(&sent);
}

#[test]
fn two_instances_share_one_budget() {
    let Some(stage) = Stage::set(6) else { return };
    let (mut first, mut second) =
        (service(&stage).start(&["run"]), service(&stage).start(&["run"]));
    first.runs_until("both own partitions", || stage.owners() == 2);
    stage.send(145, WRONG, 60_000);
    let both = [Http::of(&mut first), Http::of(&mut second)];
    both.iter().for_each(|http| http.await_reason(&["is stopped", "most often"]));
    await_stop(&stage, &mut first, 0);
    let parked = stage.database.number(DEAD);
    // Between two looks neither knows of the other.
    assert!(parked > BUDGET && parked <= 2 * (BUDGET + BATCH), "{parked} are parked");
    resume(&stage);
    first.runs_until("it goes on", || stage.database.number(DEAD) > parked);
    await_stop(&stage, &mut second, parked);
    first.terminate().expect_code(0);
    second.terminate().expect_code(0);
}
