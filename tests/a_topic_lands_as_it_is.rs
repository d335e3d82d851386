//! `kind = "landing"` copies a topic into a table as it is, by configuration alone: each record
//! once, key, value, time and headers byte for byte, and what the table cannot hold is parked
//! alone.

mod support;

use serde_json::{Value, json};
use support::http::Http;
use support::landing::{self, dead, draft, drafts, landed};
use support::records::Sent;
use support::service::Service;
use support::stage::Stage;
use support::topics::Topic;

const TABLE: &str = "landing.records";

/// A table of one's own for bytes, with headers and without a key.
const BYTES: &str = "
    create schema lake;
    create table lake.\"Bytes\" (
      id bigint generated always as identity, headers jsonb, value bytea, key bytea,
      recorded_at timestamptz, \"offset\" bigint, partition int, topic text, seen_at timestamptz
      default now());";

/// The same columns without a key.
const HEAP: &str = "create table public.heap as select * from landing.records with no data";

fn count(stage: &Stage, table: &str) -> i64 {
    stage.database.number(&format!("select count(*) from {table}"))
}

#[test]
fn text_lands_and_null_and_empty_are_two_things() {
    let Some(stage) = landing::stage(2) else { return };
    let sent = stage.topic.send(vec![
        draft(0, Some(b"key"), Some(b"{\"a\": 1}")),
        draft(1, None, Some("größe \u{1F4A1}".as_bytes())),
        draft(0, Some(b""), Some(b"")),
        draft(1, Some(b"gone"), None),
        draft(0, None, None),
        draft(1, Some(b"\t\\N\n"), Some(b"\\x00 \"quoted\" \r\n")),
    ]);
    landing::service(&stage).run_until_end();
    landing::exact(&stage, TABLE, &sent);
}

#[test]
fn what_text_cannot_hold_is_parked_alone_with_its_bytes() {
    let Some(stage) = landing::stage(1) else { return };
    let sent = stage.topic.send(vec![
        draft(0, Some(b"a"), Some(b"fine")),
        draft(0, Some(b"b"), Some(b"nul\0inside")),
        draft(0, Some(b"c"), Some(b"\xff\xfe not utf-8")),
        draft(0, Some(b"nul\0"), Some(b"fine")),
        draft(0, Some(b"\xc3\x28"), Some(b"fine")),
        draft(0, Some(b"d"), Some(b"fine, too")),
    ]);
    landing::service(&stage).run_until_end();
    let found = landed(&stage, TABLE);
    assert_eq!(found.keys().map(|place| place.1).collect::<Vec<_>>(), [0, 5]);
    let dead = dead(&stage);
    for (offset, words) in [
        (1, "column value: a NUL character at byte 3"),
        (2, "column value: not UTF-8"),
        (3, "column key: a NUL character at byte 3"),
        (4, "column key: not UTF-8"),
    ] {
        let (reason, error) = &dead[&(0, offset)];
        assert_eq!(reason, "value that a column cannot hold");
        assert!(error.contains(words), "{error}");
        let sql = "select key, value from longshore.parked_records where \"offset\" = $1";
        let row = &stage.database.query(sql, &[&offset])[0];
        let draft = &sent[offset as usize].draft;
        assert_eq!((row.get(0), row.get(1)), (draft.key.clone(), draft.value.clone()));
    }
    let id = stage.database.number("select min(id) from longshore.parked_records");
    let show = landing::service(&stage).finish(&["parked", "show", &id.to_string()]);
    show.expect_code(0).expect_word("nul").expect_word("raw of");
}

#[test]
fn what_the_tables_own_rules_refuse_is_parked_alone() {
    let Some(stage) = landing::stage(1) else { return };
    stage.database.run(
        "create table public.strict (topic text, partition int, \"offset\" bigint,
           recorded_at timestamptz, key text unique, value varchar(5) not null)",
    );
    stage.topic.send(vec![
        draft(0, Some(b"a"), Some(b"fits")),
        draft(0, Some(b"b"), Some(b"too long")),
        draft(0, Some(b"c"), None),
        draft(0, Some(b"a"), Some(b"again")),
        draft(0, None, Some(b"five5")),
    ]);
    let service = landing::service(&stage).set("pipelines.raw", "table", "\"public.strict\"");
    service.run_until_end();
    let found = landed(&stage, "public.strict");
    assert_eq!(found.keys().map(|place| place.1).collect::<Vec<_>>(), [0, 4]);
    let dead: Vec<_> = dead(&stage).into_iter().map(|((_, offset), why)| (offset, why.1)).collect();
    assert_eq!(dead.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [1, 2, 3]);
    for ((_, error), word) in dead.iter().zip(["too long", "not-null", "strict_key_key"]) {
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn bytes_land_as_they_are_in_a_table_of_ones_own() {
    let Some(stage) = landing::stage(1) else { return };
    stage.database.run(BYTES);
    let every_byte: Vec<u8> = (0..=255).collect();
    let sent = stage.topic.send(vec![
        draft(0, Some(b"\0\xff"), Some(&every_byte)),
        draft(0, Some(b""), Some(b"")),
        draft(0, None, None),
    ]);
    let service = landing::service(&stage).set("pipelines.raw", "table", "'lake.\"Bytes\"'");
    let service = service.set("pipelines.raw", "key", "\"bytea\"");
    service.set("pipelines.raw", "value", "\"bytea\"").run_until_end();
    landing::exact(&stage, "lake.\"Bytes\"", &sent);
    assert_eq!(count(&stage, "lake.\"Bytes\" where id > 0 and seen_at <= now()"), 3);
    assert_eq!(count(&stage, "lake.\"Bytes\" where headers = '[]'"), 3);
    assert_eq!(count(&stage, TABLE), 0);
}

#[test]
fn headers_land_repeats_nulls_and_what_is_no_text_too() {
    let Some(stage) = landing::stage(1) else { return };
    stage.database.run("alter table landing.records add column headers jsonb");
    let mut with = draft(0, Some(b"k"), Some(b"v"));
    let header = |name: &str, value: Option<&[u8]>| (name.to_owned(), value.map(<[u8]>::to_vec));
    with.headers = vec![
        header("trace", Some(b"a-1")),
        header("trace", None),
        header("trace", Some(b"")),
        header("größe \"\\\n", Some("\u{2028}\u{7}".as_bytes())),
        header("raw", Some(b"\xff\0")),
        header("nul", Some(b"a\0")),
        header("", Some(b"no name")),
    ];
    stage.topic.send(vec![with, draft(0, None, None)]);
    landing::service(&stage).run_until_end();
    let rows = stage
        .database
        .query("select headers::text, \"offset\" from landing.records order by \"offset\"", &[]);
    let of = |row: usize| serde_json::from_str::<Value>(rows[row].get(0)).expect("JSON");
    let expected = json!([
        {"name": "trace", "value": "a-1"},
        {"name": "trace", "value": null},
        {"name": "trace", "value": ""},
        {"name": "größe \"\\\n", "value": "\u{2028}\u{7}"},
        {"name": "raw", "base64": "/wA="},
        {"name": "nul", "base64": "YQA="},
        {"name": "", "value": "no name"},
    ]);
    assert_eq!((of(0), of(1)), (expected, json!([])));
}

#[test]
fn a_repeat_is_a_duplicate_where_the_table_has_the_key() {
    let Some(stage) = landing::stage(3) else { return };
    let sent = stage.topic.send(drafts(&stage, 3_000));
    let service = landing::service(&stage);
    service.run_until_end();
    again(&stage);
    service.run_until_end().expect_word("duplicate=3000");
    landing::exact(&stage, TABLE, &sent);
}

#[test]
fn partitioned_by_time_a_table_knows_its_repeats_too() {
    let Some(stage) = landing::stage(2) else { return };
    stage.database.run(
        "create table by_time (topic varchar(300), partition int, \"offset\" bigint,
           recorded_at timestamptz, key text, value text,
           primary key (recorded_at, topic, partition, \"offset\"))
           partition by range (recorded_at);
         create table of_any_time partition of by_time default",
    );
    let sent = stage.topic.send(drafts(&stage, 1_000));
    let service = landing::service(&stage).set("pipelines.raw", "table", "\"by_time\"");
    service.run_until_end();
    again(&stage);
    service.run_until_end().expect_word("duplicate=1000");
    landing::exact(&stage, "by_time", &sent);
}

#[test]
fn without_a_key_each_record_is_a_row_once_for_each_time_it_is_asked_for() {
    let Some(stage) = landing::stage(2) else { return };
    stage.database.run(HEAP);
    let sent = stage.topic.send(drafts(&stage, 1_000));
    let service = landing::service(&stage).set("pipelines.raw", "table", "\"public.heap\"");
    service.run_until_end();
    service.run_until_end();
    landing::exact(&stage, "public.heap", &sent);
    again(&stage);
    service.run_until_end();
    assert_eq!(count(&stage, "public.heap"), 2_000);
}

#[test]
fn killed_while_a_transaction_is_open_it_loses_and_doubles_nothing() {
    let Some(stage) = landing::stage(4) else { return };
    stage.database.run(HEAP);
    let mut sent = stage.topic.send(drafts(&stage, 2_000));
    for (service, table) in of_both_tables(&stage) {
        let mut first = service.start(&["run"]);
        first.runs_until("all has landed", || count(&stage, table) == sent.len() as i64);
        let mut gate = stage.database.another_connection();
        let lock = format!("begin; lock table {table} in share mode");
        gate.batch_execute(&lock).expect("a lock");
        stage.send_more(&mut sent, drafts(&stage, 2_000));
        first.runs_until("a save waits at the gate", || {
            stage.database.sessions_that_wait_for_a_lock() > 0
        });
        first.kill();
        drop(gate);
        service.run_until_end();
        landing::exact(&stage, table, &sent);
    }
}

#[test]
fn killed_again_and_again_it_loses_and_doubles_nothing() {
    let Some(stage) = landing::stage(4) else { return };
    stage.database.run(HEAP);
    let sent = stage.topic.send(drafts(&stage, 40_000));
    for (service, table) in of_both_tables(&stage) {
        for quarter in 1..4 {
            let mut running = service.start(&["run"]);
            running.runs_until("a quarter more has landed", || {
                count(&stage, table) >= quarter * 10_000
            });
            running.kill();
        }
        service.run_until_end();
        landing::exact(&stage, table, &sent);
    }
}

/// Slow services whose broker notices their death in seconds, one into the table with a key and one
/// into that without.
fn of_both_tables(stage: &Stage) -> [(Service, &'static str); 2] {
    [TABLE, "public.heap"].map(|table| {
        let service = landing::service(stage)
            .set("pipelines.raw", "table", &format!("\"{table}\""))
            .set("pipelines.raw", "group", &format!("\"{}.{table}\"", stage.group))
            .set("pipelines.raw.batch", "records", "50")
            .set("database", "connections", "1")
            .set("kafka.properties", "\"session.timeout.ms\"", "\"4000\"")
            .set("kafka.properties", "\"heartbeat.interval.ms\"", "\"1000\"");
        (service, table)
    })
}

#[test]
fn two_landing_pipelines_run_in_one_process_under_their_own_names() {
    let Some(stage) = landing::stage(2) else { return };
    stage.database.run(BYTES);
    let other = Topic::fresh(&stage.servers.brokers, 3, &[]);
    let sent = stage.topic.send(drafts(&stage, 500));
    other.send(vec![draft(0, None, Some(b"\0")), draft(2, None, Some(b"\xff"))]);
    let service = landing::service(&stage)
        .set("pipelines.raw-bytes", "kind", "\"landing\"")
        .set("pipelines.raw-bytes", "topics", &format!("[\"{}\"]", other.name))
        .set("pipelines.raw-bytes", "table", "'lake.\"Bytes\"'");
    let mut running = service.start(&["run"]);
    let http = Http::of(&mut running);
    running.runs_until("all has landed", || {
        count(&stage, TABLE) == 500 && count(&stage, "lake.\"Bytes\"") == 2
    });
    landing::exact(&stage, TABLE, &sent);
    let status = http.get("/api/status").json();
    let names: Vec<_> = status["pipelines"].as_array().expect("pipelines").iter().collect();
    assert_eq!((&names[0]["name"], &names[1]["name"]), (&json!("raw"), &json!("raw-bytes")));
    assert_eq!(names[1]["group"], "longshore.raw-bytes");
    let is_counted = |name: &str, records: f64| {
        let metrics = http.metrics();
        let saved = metrics.of("longshore_records_total").into_iter();
        let saved = saved.filter(|(labels, _)| labels["outcome"] == "saved");
        let of = saved.filter(|(labels, _)| labels["pipeline"] == name);
        of.map(|(_, value)| value).sum::<f64>() == records
    };
    running.runs_until("both are counted", || {
        is_counted("raw", 500.0) && is_counted("raw-bytes", 2.0)
    });
    running.terminate().expect_code(0);
    let offsets = service.finish(&["offsets", "show"]).expect_code(0);
    offsets.expect_word(&stage.topic.name).expect_word(&other.name);
}

#[test]
fn the_environment_alone_configures_it() {
    let Some(stage) = Stage::empty(1, &[]) else { return };
    let sent: Vec<Sent> = stage.topic.send(drafts(&stage, 50));
    let service = stage
        .bare_service()
        .environment("LONGSHORE_KAFKA__BROKERS", &stage.servers.brokers)
        .environment("DATABASE_URL", &stage.database.url)
        .environment("LONGSHORE_HTTP__LISTEN", "off")
        .environment("LONGSHORE_PIPELINES__RAW__KIND", "landing")
        .environment("LONGSHORE_PIPELINES__RAW__VALUE", "text")
        .environment("LONGSHORE_PIPELINES__RAW__TOPICS", &stage.topic.name);
    service.start_without_config(&["check"]).wait().expect_code(1).expect_word("migrate");
    let run = ["run", "--until-end", "--migrate"];
    service.start_without_config(&run).wait().expect_code(0);
    landing::exact(&stage, TABLE, &sent);
    let check = service.start_without_config(&["check"]).wait().expect_code(0);
    check.expect_word("lands in landing.records").expect_word("topic, partition, \"offset\"");
}

/// Moves the offsets of the pipeline to the beginning.
fn again(stage: &Stage) {
    let arguments = ["offsets", "set", "raw", "--to", "earliest", "--yes"];
    landing::service(stage).finish(&arguments).expect_code(0);
}
