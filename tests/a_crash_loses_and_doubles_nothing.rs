//! A crash loses nothing and doubles nothing, whenever it comes; neither does a stop, nor a
//! database that throws the service out.

mod support;

use support::records::Mix;
use support::service::{Process, Service};
use support::stage::Stage;

#[test]
fn killed_while_a_transaction_is_open() {
    let Some(stage) = Stage::set(4) else { return };
    at_the_gate(&stage, &mortal(&stage), 41, Process::kill);
}

#[test]
fn a_second_signal_ends_it_at_once_though_it_cannot_drain() {
    let Some(stage) = Stage::set(4) else { return };
    at_the_gate(&stage, &mortal(&stage), 44, |service| {
        service.signal("TERM");
        service.signal("TERM");
        service.wait();
    });
}

#[test]
fn the_drain_limit_ends_it_though_it_cannot_drain() {
    let Some(stage) = Stage::set(4) else { return };
    let impatient = mortal(&stage).set("", "drain_limit", "\"2 s\"");
    at_the_gate(&stage, &impatient, 46, |service| {
        service.signal("TERM");
        service.wait();
    });
}

#[test]
fn killed_again_and_again_at_whatever_moment() {
    let Some(stage) = Stage::set(4) else { return };
    let sent = stage.send(42, Mix::USUAL, 60_000);
    for fifth in 1..5 {
        let mut service = mortal(&stage).start(&["run"]);
        service.runs_until("a fifth more is settled", || stage.settled() >= fifth * 12_000);
        service.kill();
    }
    mortal(&stage).run_until_end();
    stage.exact(&sent);
}

#[test]
fn stopped_in_the_middle_it_drains_and_the_second_start_ends_the_same() {
    let Some(stage) = Stage::set(4) else { return };
    let sent = stage.send(43, Mix::USUAL, 60_000);
    for (quarter, signal) in [(1, "TERM"), (2, "INT")] {
        let mut service = stage.slow_service().start(&["run"]);
        service.runs_until("a quarter more is settled", || stage.settled() >= quarter * 15_000);
        service.signal(signal);
        service.wait().expect_code(0);
    }
    stage.slow_service().run_until_end();
    stage.exact(&sent);
}

#[test]
fn thrown_out_by_the_database_it_comes_back_and_parks_nothing_for_it() {
    let Some(stage) = Stage::set(4) else { return };
    let sent = stage.send(45, Mix::USUAL, 60_000);
    let mut service = stage.slow_service().start(&["run"]);
    for sixth in 1..6 {
        service.runs_until("a sixth more is settled", || stage.settled() >= sixth * 10_000);
        stage.database.throw_others_out();
    }
    stage.await_end(&mut service);
    service.terminate().expect_code(0);
    stage.exact(&sent);
}

/// Ends a service while its save waits for a lock on the table; a second start must finish the
/// work.
fn at_the_gate(stage: &Stage, service: &Service, seed: u64, end: impl FnOnce(Process)) {
    let mut records = stage.generator(seed, Mix::USUAL);
    let mut sent = stage.topic.send(records.records(5_000));
    let mut first = service.start(&["run"]);
    stage.await_end(&mut first);
    let mut gate = stage.database.another_connection();
    gate.batch_execute("begin; lock table ads.enriched_events in share mode").expect("a lock");
    stage.send_more(&mut sent, records.records(5_000));
    first.runs_until("a save waits at the gate", || {
        stage.database.sessions_that_wait_for_a_lock() > 0
    });
    end(first);
    drop(gate);
    service.run_until_end();
    stage.exact(&sent);
}

/// A slow service whose broker notices its death in seconds.
fn mortal(stage: &Stage) -> Service {
    stage.slow_service().set("kafka.properties", "\"session.timeout.ms\"", "\"4000\"").set(
        "kafka.properties",
        "\"heartbeat.interval.ms\"",
        "\"1000\"",
    )
}
