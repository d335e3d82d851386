//! A table that records cannot land in is named before anything runs: which key of the
//! configuration, which column, and what would be right; by `check` and by `run` alike.

mod support;

use support::landing;
use support::service::Service;
use support::stage::Stage;

/// The columns that fit, to be spoilt one by one.
const COLUMNS: [(&str, &str); 6] = [
    ("topic", "text"),
    ("partition", "int"),
    ("\"offset\"", "bigint"),
    ("recorded_at", "timestamptz"),
    ("key", "text"),
    ("value", "bytea"),
];

/// Makes the table `lake.t` with some columns otherwise, and more behind them.
fn make(stage: &Stage, otherwise: &[(&str, &str)], more: &str) {
    let type_of = |name: &str, usual: &str| {
        let other = otherwise.iter().find(|(column, _)| *column == name);
        other.map_or(usual.to_owned(), |(_, other)| (*other).to_owned())
    };
    let columns = COLUMNS.iter().map(|(name, usual)| (*name, type_of(name, usual)));
    let columns = columns.filter(|(_, of_type)| !of_type.is_empty());
    let columns: Vec<_> = columns.map(|(name, of_type)| format!("{name} {of_type}")).collect();
    let columns = columns.join(", ");
    stage.database.run(&format!(
        "drop schema if exists lake cascade; create schema lake; \
         create table lake.t ({columns}{more})"
    ));
}

/// Panics unless `check` and `run` name all of `words`, and `run` ends with 2.
fn refused(service: &Service, words: &[&str]) {
    let mut run = service.finish(&["run", "--until-end"]).expect_code(2);
    let mut check = service.finish(&["check"]).expect_code(1);
    for word in words {
        run = run.expect_word(word);
        check = check.expect_word(word);
    }
}

fn of_lake(stage: &Stage) -> Service {
    landing::service(stage).set("pipelines.raw", "table", "\"lake.t\"")
}

#[test]
fn a_form_that_is_not_the_columns_type() {
    let Some(stage) = landing::stage(1) else { return };
    make(&stage, &[], "");
    let service = of_lake(&stage).set("pipelines.raw", "value", "\"text\"");
    let what = "column value of lake.t is bytea; write \"bytea\"";
    refused(&service, &["pipelines.raw.value = \"text\"", what]);
    let service = of_lake(&stage).set("pipelines.raw", "key", "\"bytea\"");
    let what = "column key of lake.t is text; write \"text\"";
    refused(&service, &["pipelines.raw.key = \"bytea\"", what]);
    let service = landing::service(&stage).set("pipelines.raw", "value", "\"bytea\"");
    let what = "column value of landing.records is text";
    refused(&service, &["pipelines.raw.value = \"bytea\"", what]);
}

#[test]
fn columns_of_wrong_types_are_told_all_at_once() {
    let Some(stage) = landing::stage(1) else { return };
    make(&stage, &[("partition", "bigint"), ("recorded_at", "timestamp"), ("value", "jsonb")], "");
    let words = [
        "pipelines.raw.table = \"lake.t\": column partition of lake.t is bigint; it must be int",
        "column recorded_at of lake.t is timestamp without time zone; it must be timestamptz",
        "column value of lake.t is jsonb; it must be text or bytea",
    ];
    refused(&of_lake(&stage), &words);
    make(&stage, &[("topic", "varchar(20)"), ("key", "varchar(9)")], ", headers text");
    refused(&of_lake(&stage), &["column headers of lake.t is text; it must be jsonb"]);
    make(&stage, &[("value", "text generated always as (key) stored")], "");
    refused(&of_lake(&stage), &["column value of lake.t is computed by the database"]);
}

#[test]
fn columns_that_are_missing_or_that_records_have_nothing_for() {
    let Some(stage) = landing::stage(1) else { return };
    make(&stage, &[("\"offset\"", ""), ("key", "")], "");
    refused(&of_lake(&stage), &["lake.t has no column \"offset\" bigint, key text or bytea"]);
    make(&stage, &[], ", tenant text not null, seen timestamptz not null default now()");
    refused(&of_lake(&stage), &["column tenant of lake.t must not be null", "give it a default"]);
}

#[test]
fn a_primary_key_that_records_have_in_common() {
    let Some(stage) = landing::stage(1) else { return };
    make(&stage, &[], ", primary key (key)");
    let what = "the primary key of lake.t is (key)";
    refused(&of_lake(&stage), &[what, "it must be (topic, partition, \"offset\"), or none"]);
}

#[test]
fn a_table_that_is_not_there_or_is_none() {
    let Some(stage) = landing::stage(1) else { return };
    let missing = "pipelines.raw.table = \"lake.t\": there is no table \"lake\".\"t\"";
    refused(&of_lake(&stage), &[missing, "topic text, partition int"]);
    make(&stage, &[], "");
    stage.database.run("create view lake.v as select * from lake.t");
    let service = landing::service(&stage).set("pipelines.raw", "table", "\"lake.v\"");
    refused(&service, &["pipelines.raw.table = \"lake.v\": is a view"]);
}

#[test]
fn the_migration_is_named_where_it_would_make_the_table() {
    let Some(stage) = Stage::empty(1, &[]) else { return };
    of_lake(&stage).migrate();
    assert!(!stage.database.has_table("landing.records"), "a table of one's own is enough");
    let service = landing::service(&stage);
    let run = service.finish(&["run"]).expect_code(1);
    run.expect_word("pipeline raw").expect_word("no table landing.records").expect_word("migrate");
    service.finish(&["check"]).expect_code(1).expect_word("landing/").expect_word("migrate");
    service.finish(&["migrate", "--dry-run"]).expect_code(0).expect_word("landing.records");
    service.migrate();
    service.finish(&["check"]).expect_code(0).expect_word("key as text, value as text");
}

#[test]
fn a_table_that_is_there_already_is_adopted_with_its_data() {
    let Some(stage) = Stage::empty(1, &[]) else { return };
    stage.database.run(
        "create schema landing; create table landing.records (
           topic text not null, partition int not null, \"offset\" bigint not null,
           recorded_at timestamptz, key text, value text,
           primary key (topic, partition, \"offset\"));
         insert into landing.records values ('other', 0, 7, now(), 'k', 'v')",
    );
    let service = landing::service(&stage);
    let sent = stage.topic.send(landing::drafts(&stage, 100));
    service.finish(&["run", "--until-end", "--migrate"]).expect_code(0);
    landing::exact(&stage, "landing.records", &sent);
    assert_eq!(stage.database.number("select count(*) from landing.records"), 101);
}

#[test]
fn keys_that_are_wrong_or_missing_are_named_before_anything_is_asked() {
    let Some(stage) = Stage::empty(1, &[]) else { return };
    let service = landing::service(&stage);
    for (section, key, value, words) in [
        ("pipelines.raw", "value", "\"json\"", "pipelines.raw.value = \"json\""),
        ("pipelines.raw", "value", "\"json\"", "must be one of: text, bytea"),
        ("pipelines.raw", "table", "\"a.b.c\"", "pipelines.raw.table = \"a.b.c\""),
        ("pipelines.raw", "table", "\"lake.\"", "must be the name of a table"),
        ("pipelines.raw", "tabel", "\"lake.t\"", "pipelines.raw.tabel"),
        ("pipelines.ads", "value", "\"text\"", "pipelines.ads.value = \"text\""),
        ("pipelines.ads", "table", "\"lake.t\"", "kind = \"landing\""),
    ] {
        let wrong = service.clone().set(section, key, value);
        wrong.finish(&["check"]).expect_code(2).expect_word(words);
    }
    let without_topics = service.unset("pipelines.raw", "topics");
    let said = without_topics.finish(&["run"]).expect_code(2);
    said.expect_word("pipelines.raw.topics: must name the topics to read");
}
