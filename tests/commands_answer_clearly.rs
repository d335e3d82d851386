//! Commands answer clearly: exit codes say done, failed or wrong usage; errors name the key and
//! the way out; secrets are never printed.

mod support;

use serde_json::Value;
use support::database::Database;
use support::records::Mix;
use support::service::{Finished, Service};
use support::stage::Stage;
use tempfile::TempDir;

/// A password that must not be seen anywhere.
const SECRET: &str = "hunter2-and-more";

#[test]
fn help_names_every_command_and_needs_no_configuration() {
    let directory = TempDir::new().expect("a directory");
    let service = Service::bare(directory.path());
    let help = service.start_without_config(&["--help"]).wait().expect_code(0);
    for command in ["demo", "run", "check", "migrate", "offsets"] {
        assert!(help.stdout.contains(command), "help names no {command}: {}", help.stdout);
    }
    service.start_without_config(&["run", "--help"]).wait().expect_code(0).expect_word("until-end");
    service.start_without_config(&["--version"]).wait().expect_code(0).expect_word("longshore");
}

#[test]
fn wrong_usage_exits_with_2() {
    let directory = TempDir::new().expect("a directory");
    let service = Service::bare(directory.path());
    for arguments in [&["no-such-command"][..], &["run", "--no-such-flag"], &["offsets"]] {
        service.start_without_config(arguments).wait().expect_code(2);
    }
    let missing = ["check", "--config", "not-there.toml"];
    service.start_without_config(&missing).wait().expect_code(2).expect_word("not-there.toml");
}

#[test]
fn a_wrong_configuration_exits_with_2_and_names_the_key() {
    for (section, key, value, word) in [
        ("pipelines.ads", "topcis", "[\"x\"]", "topcis"),
        ("kafka", "broker", "\"127.0.0.1:1\"", "broker"),
        ("", "memroy", "\"64 MiB\"", "memroy"),
        ("pipelines.ads", "order", "\"sideways\"", "order"),
        ("pipelines.ads", "start", "\"yesterday\"", "start"),
        ("pipelines.ads", "topics", "[]", "topics"),
        ("pipelines.ads.batch", "records", "0", "records"),
        ("pipelines.ads.batch", "records", "\"many\"", "records"),
        ("pipelines.ads.batch", "linger", "\"50 parsecs\"", "linger"),
        ("pipelines.ads.batch", "bytes", "\"8 elephants\"", "bytes"),
        ("database", "connections", "0", "connections"),
        ("database", "url", "\"mysql://localhost/x\"", "url"),
        ("database", "url", "\"postgres://u@localhost/x?sslmode=perhaps\"", "sslmode"),
        ("pipelines.nothing", "topics", "[\"x\"]", "nothing"),
        ("kafka.properties", "\"enable.auto.commit\"", "\"true\"", "enable.auto.commit"),
        ("kafka.properties", "\"auto.offset.reset\"", "\"latest\"", "auto.offset.reset"),
        ("kafka.properties", "\"no.such.property\"", "\"1\"", "no.such.property"),
    ] {
        let directory = TempDir::new().expect("a directory");
        let service = unreachable(&directory).set(section, key, value);
        let finished = service.finish(&["run", "--until-end"]);
        let story = format!("[{section}] {key} = {value}: {finished:?}");
        assert!(finished.code == Some(2) && finished.says(word), "{story}");
    }
}

#[test]
fn a_pipeline_that_is_not_configured_cannot_be_run() {
    let directory = TempDir::new().expect("a directory");
    let finished = unreachable(&directory).finish(&["run", "elsewhere"]).expect_code(2);
    finished.expect_word("elsewhere");
}

#[test]
fn check_says_what_does_not_answer() {
    let directory = TempDir::new().expect("a directory");
    let finished = unreachable(&directory).finish(&["check"]).expect_code(1);
    finished.expect_word("127.0.0.1:1").expect_word("database");
}

#[test]
fn check_passes_line_by_line_once_all_is_there() {
    let Some(stage) = Stage::empty(2, &[]) else { return };
    stage.service().finish(&["check"]).expect_code(1).expect_word("longshore migrate");
    stage.service().migrate();
    let finished = stage.service().finish(&["check"]).expect_code(0);
    assert!(finished.stdout.lines().count() >= 4, "a line for each check: {}", finished.stdout);
    let finished = finished.expect_word(&stage.topic.name);
    finished.expect_word(&stage.servers.brokers);
    let elsewhere = stage.service().set("pipelines.ads", "topics", "[\"no.such.topic\"]");
    elsewhere.finish(&["check"]).expect_code(1).expect_word("no.such.topic");
}

#[test]
fn migrate_prints_its_sql_when_dry_and_is_safe_to_repeat() {
    let Some(stage) = Stage::empty(1, &[]) else { return };
    let dry = stage.service().finish(&["migrate", "--dry-run"]).expect_code(0);
    for word in ["create table", "longshore.offsets", "ads.enriched_events"] {
        assert!(dry.stdout.to_lowercase().contains(word), "no {word}: {}", dry.stdout);
    }
    assert_eq!(tables(&stage.database), 0, "a dry run changes nothing");
    stage.service().migrate();
    let made = tables(&stage.database);
    assert!(stage.database.has_table("longshore.parked_records"));
    assert!(stage.database.has_table("ads.enriched_events"));
    stage.service().migrate();
    assert_eq!(tables(&stage.database), made);
    let dry = stage.service().finish(&["migrate", "--dry-run"]).expect_code(0);
    assert!(!dry.stdout.to_lowercase().contains("create table"), "nothing left: {}", dry.stdout);
}

#[test]
fn migrate_adopts_tables_and_data_that_are_already_there() {
    let Some(stage) = Stage::empty(1, &[]) else { return };
    stage.database.run(
        "create schema ads;
         create table ads.advertisers (id bigint primary key, name text not null,
           status text not null check (status in ('active','paused')), currency char(3) not null);
         insert into ads.advertisers values (-7, 'kept', 'active', 'EUR')",
    );
    stage.service().migrate();
    assert_eq!(stage.database.number("select count(*) from ads.advertisers"), 1);
    stage.reference.load(&stage.database);
    let sent = stage.send(81, Mix::USUAL, 300);
    stage.service().run_until_end();
    stage.exact(&sent);
}

#[test]
fn run_names_the_way_out_of_a_database_without_tables() {
    let Some(stage) = Stage::empty(1, &[]) else { return };
    let finished = stage.service().finish(&["run", "--until-end"]).expect_code(1);
    finished.expect_word("longshore migrate");
}

#[test]
fn an_empty_topic_is_at_its_end() {
    let Some(stage) = Stage::set(3) else { return };
    stage.service().run_until_end();
    stage.exact(&[]);
}

#[test]
fn offsets_show_tells_each_partition_and_its_lag() {
    let Some(stage) = Stage::set(2) else { return };
    let mut records = stage.generator(82, Mix::USUAL);
    stage.topic.send(records.records(200));
    stage.service().run_until_end();
    stage.topic.send(records.records(40));
    let shown = stage.service().finish(&["offsets", "show", "--json"]).expect_code(0);
    let shown = serde_json::from_str::<Value>(&shown.stdout).expect("JSON on stdout");
    let partitions = objects_with(&shown, "partition");
    assert_eq!(partitions.len(), 2, "{shown}");
    for partition in partitions {
        assert_eq!(partition["topic"], *stage.topic.name);
        assert_eq!(partition["group"], *stage.group);
        assert_eq!(partition["next_offset"], 100);
        assert_eq!(partition["lag"], 20);
    }
    let plain = stage.service().finish(&["offsets", "show"]).expect_code(0);
    plain.expect_word(&stage.topic.name).expect_word("100");
}

#[test]
fn the_environment_wins_over_the_file_and_flags_choose_json_logs() {
    let Some(stage) = Stage::set(1) else { return };
    let sent = stage.send(83, Mix::USUAL, 100);
    let url = stage.database.url.clone();
    let service = stage
        .service()
        .set("kafka", "brokers", "\"127.0.0.1:1\"")
        .unset("database", "url")
        .environment("LONGSHORE_KAFKA__BROKERS", &stage.servers.brokers)
        .environment("DATABASE_URL", &url);
    let finished = service.finish(&["run", "--until-end", "--log-format", "json"]).expect_code(0);
    stage.exact(&sent);
    let log = if finished.stderr.is_empty() { &finished.stdout } else { &finished.stderr };
    for line in log.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "no JSON: {line}");
    }
}

#[test]
fn secrets_are_never_printed() {
    let Some(stage) = Stage::set(1) else { return };
    let role = format!("role_{}", uuid::Uuid::new_v4().simple());
    stage.database.run(&format!("create role {role} superuser login password '{SECRET}'"));
    let authority = format!("{role}:{SECRET}");
    let rest = stage.database.url.rsplit('@').next().expect("a host").to_owned();
    let service = stage
        .service()
        .set("database", "url", &format!("\"postgres://{authority}@{rest}\""))
        .set("kafka.properties", "\"sasl.username\"", "\"someone\"")
        .set("kafka.properties", "\"sasl.password\"", &format!("\"{SECRET}\""))
        .environment("RUST_LOG", "trace");
    let refused = service.clone().set("database", "connections", "0");
    let nowhere = service.clone().set("kafka", "brokers", "\"127.0.0.1:1\"");
    let closed = format!("\"postgres://{authority}@127.0.0.1:1/x\"");
    let closed = service.clone().set("database", "url", &closed);
    let finished = [
        service.finish(&["check"]),
        service.finish(&["run", "--until-end"]).expect_code(0),
        service.finish(&["offsets", "show"]),
        service.finish(&["migrate", "--dry-run"]),
        refused.finish(&["check"]).expect_code(2),
        nowhere.finish(&["check"]).expect_code(1),
        closed.finish(&["check"]).expect_code(1),
    ];
    stage.database.run(&format!("drop role {role}"));
    let leaks = finished.iter().filter(|one| one.says(SECRET)).collect::<Vec<&Finished>>();
    assert!(leaks.is_empty(), "{leaks:?}");
}

/// A configuration whose servers do not exist.
fn unreachable(directory: &TempDir) -> Service {
    Service::bare(directory.path())
        .set("kafka", "brokers", "\"127.0.0.1:1\"")
        .set("database", "url", "\"postgres://nobody@127.0.0.1:1/nothing\"")
        .set("pipelines.ads", "topics", "[\"ads.events\"]")
        .set("http", "listen", "\"127.0.0.1:0\"")
}

fn tables(database: &Database) -> i64 {
    database.number(
        "select count(*) from pg_tables
         where schemaname not in ('pg_catalog', 'information_schema')",
    )
}

/// All objects inside of `value` that have `key`, however it is nested.
fn objects_with<'a>(value: &'a Value, key: &str) -> Vec<&'a Value> {
    match value {
        Value::Object(fields) if fields.contains_key(key) => vec![value],
        Value::Object(fields) => fields.values().flat_map(|one| objects_with(one, key)).collect(),
        Value::Array(values) => values.iter().flat_map(|one| objects_with(one, key)).collect(),
        _ => Vec::new(),
    }
}
