//! `/health/live` and `/health/ready` answer at any time, and say what is wrong in words: while
//! servers are away, while a partition stands still, and that all is well when it is.

mod support;

use std::net::TcpListener;

use support::http::Http;
use support::own_servers::OwnServers;
use support::records::Mix;
use support::service::Service;
use support::stage::Stage;
use support::wait;
use tempfile::TempDir;

/// Nobody listens there.
const NOWHERE: &str = "127.0.0.1:1";

#[test]
fn it_answers_while_it_still_waits_for_the_database() {
    let directory = TempDir::new().expect("a directory");
    let mut process = away(&directory).set("http", "listen", "\"127.0.0.1:0\"").start(&["run"]);
    let http = Http::of(&mut process);
    http.await_reason(&["pipeline ads", "waits for the database", "refused"]);
    assert_eq!(http.get("/metrics").status, 200);
    assert_eq!(http.get("/api/status").json()["pipelines"][0]["state"], "starting");
    process.terminate().expect_code(0);
}

#[test]
fn it_answers_while_it_still_waits_for_the_brokers() {
    let Some(stage) = Stage::set(1) else { return };
    let service = stage.service().set("kafka", "brokers", &format!("\"{NOWHERE}\""));
    let mut process = service.start(&["run"]);
    Http::of(&mut process).await_reason(&["pipeline ads", "waits for kafka"]);
    process.terminate().expect_code(0);
}

#[test]
fn it_is_ready_once_it_has_its_partitions_even_if_there_is_none_for_it() {
    let Some(stage) = Stage::set(1) else { return };
    let (mut first, mut second) =
        (stage.service().start(&["run"]), stage.service().start(&["run"]));
    let both = [Http::of(&mut first), Http::of(&mut second)];
    both.iter().for_each(Http::await_ready);
    let partitions = |http: &Http| {
        let status = http.get("/api/status").json();
        let partitions = status["partitions"].as_array().expect("partitions").clone();
        partitions.iter().filter(|one| one["state"] != "released").count()
    };
    wait::until("one of them has the only partition", || {
        both.iter().map(partitions).sum::<usize>() == 1
    });
    both.iter().for_each(Http::await_ready);
    for http in &both {
        let (live, ready) = (http.live(), http.ready());
        assert_eq!((live.status, ready.status), (200, 200), "{} {}", live.body, ready.body);
        assert!(live.head.contains("content-type: application/json"), "{}", live.head);
        assert_eq!(live.json()["status"], "ok");
        assert!(live.reasons().is_empty() && ready.reasons().is_empty());
    }
    first.terminate().expect_code(0);
    second.terminate().expect_code(0);
}

#[test]
fn a_partition_that_stands_still_is_named_with_its_reason() {
    let Some(stage) = Stage::set(2) else { return };
    stage.send(71, Mix::USUAL, 400);
    stage.service().run_until_end();
    stage.database.run("update longshore.offsets set next_offset = 9000 where partition = 1");
    let mut process = stage.service().start(&["run"]);
    let http = Http::of(&mut process);
    http.await_reason(&[&format!("{}[1] is stopped", stage.topic.name), "9000"]);
    let status = http.get("/api/status").json();
    let partitions = status["partitions"].as_array().expect("partitions");
    let stopped = partitions.iter().find(|one| one["partition"] == 1).expect("it is shown");
    assert_eq!(stopped["state"], "stopped");
    assert!(stopped["reason"].as_str().is_some_and(|reason| reason.contains("9000")), "{stopped}");
    process.terminate().expect_code(0);
}

#[test]
fn it_says_who_is_away_and_is_ready_again_when_they_are_back() {
    let Some(own) = OwnServers::start() else { return };
    let stage = Stage::on(own.servers.clone(), 2, &[]);
    stage.service().migrate();
    stage.reference.load(&stage.database);
    stage.send(72, Mix::USUAL, 400);
    let mut process = stage.service().start(&["run"]);
    let http = Http::of(&mut process);
    http.await_ready();
    own.stop("postgres");
    http.await_reason(&["pipeline ads", "wait", "refused"]);
    own.start_again("postgres");
    http.await_ready();
    own.stop("kafka");
    http.await_reason(&["pipeline ads", "kafka: ", "brokers are down"]);
    own.start_again("kafka");
    http.await_ready();
    process.terminate().expect_code(0);
}

#[test]
fn an_address_that_cannot_be_had_is_told_with_its_key_and_what_to_do() {
    let directory = TempDir::new().expect("a directory");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let listening_at = |address: &str| {
        let listen = format!("\"{address}\"");
        away(&directory).set("http", "listen", &listen).finish(&["run"])
    };
    let in_use = listening_at(&address).expect_code(1);
    for word in ["http.listen", &address, "in use", "off"] {
        assert!(in_use.says(word), "{word}: {}", in_use.stderr);
    }
    // An address of documentation, which no machine has.
    let foreign = listening_at("192.0.2.1:8080").expect_code(2);
    assert!(foreign.says("http.listen = \"192.0.2.1:8080\""), "{}", foreign.stderr);
}

#[test]
fn it_serves_nothing_where_that_is_off() {
    let directory = TempDir::new().expect("a directory");
    let mut process = away(&directory).set("http", "listen", "\"off\"").start(&["run"]);
    process.says_line("waiting for the database");
    let end = process.terminate().expect_code(0);
    assert!(!end.says("are served"), "{}", end.stderr);
}

/// The service with both its servers away.
fn away(directory: &TempDir) -> Service {
    Service::bare(directory.path())
        .set("kafka", "brokers", &format!("\"{NOWHERE}\""))
        .set("database", "url", &format!("\"postgres://nobody@{NOWHERE}/nothing\""))
        .set("pipelines.ads", "topics", "[\"nothing\"]")
}
