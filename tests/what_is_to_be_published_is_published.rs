//! Dead records are published to the dead-letter topic, byte for byte and at least once, by the
//! owner of their partition; what cannot be sent holds nothing up.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use support::records::{Draft, Mix, Said};
use support::service::Service;
use support::stage::Stage;
use support::topics::{Found, Topic};

/// Lets nobody mark a dead record as published while the lock is held.
const GATE: &str = "
    create function wait_at_the_gate() returns trigger language plpgsql as
        $$ begin perform pg_advisory_xact_lock(7); return new; end $$;
    create trigger gate before update of relayed_at on longshore.parked_records
        for each row execute function wait_at_the_gate()";

const UNRELAYED: &str = "select count(*) from longshore.parked_records where relayed_at is null";

/// A stage, and a topic for its dead records.
fn set(partitions: i32, settings: &[(&str, &str)]) -> Option<(Stage, Topic)> {
    // The records' times are fixed, and older than brokers keep records.
    let stage = Stage::with_topic(partitions, &[("retention.ms", "-1")])?;
    let dead_letters = Topic::fresh(&stage.servers.brokers, 2, settings);
    Some((stage, dead_letters))
}

fn publishing(service: Service, dead_letters: &Topic) -> Service {
    let topic = format!("\"{}\"", dead_letters.name);
    service.set("pipelines.ads", "dead_letter_topic", &topic)
}

/// An unreadable record.
fn unreadable(key: Option<&[u8]>, value: &[u8], headers: &[(&str, Option<&[u8]>)]) -> Draft {
    let owned = |bytes: &[u8]| bytes.to_vec();
    Draft {
        partition: 0,
        key: key.map(owned),
        value: Some(owned(value)),
        timestamp_ms: 1_750_000_000_123,
        headers: headers.iter().map(|(name, v)| ((*name).to_owned(), v.map(owned))).collect(),
        said: Said::Unreadable("no JSON"),
    }
}

/// All that the topic has.
fn all_of(dead_letters: &Topic) -> Vec<Found> {
    dead_letters.read_all().into_values().flatten().collect()
}

/// The last header of that name, as text.
fn header(found: &Found, name: &str) -> String {
    let header = found.headers.iter().rfind(|(of, _)| of == name);
    let (_, value) = header.unwrap_or_else(|| panic!("no header {name}: {found:?}"));
    String::from_utf8(value.clone().expect("not null")).expect("text")
}

/// How often each id was published.
fn times(found: &[Found]) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for one in found {
        *times.entry(header(one, "longshore-id")).or_default() += 1;
    }
    times
}

#[test]
fn byte_for_byte_with_null_and_repeated_headers_and_the_whole_story() {
    let Some((stage, dead_letters)) = set(1, &[]) else { return };
    let drafts = vec![
        unreadable(
            Some(b"\x00\xffkey"),
            b"\x00\xff no JSON",
            &[
                ("trace", Some(b"a")),
                ("none", None),
                ("trace", Some(b"\xff\x00")),
                ("e", Some(b"")),
            ],
        ),
        unreadable(None, b"", &[]),
        unreadable(Some(b""), b"{", &[("longshore-reason", Some(b"of another pipeline"))]),
    ];
    let sent = stage.topic.send(drafts.clone());
    publishing(stage.service(), &dead_letters).run_until_end();
    let found = all_of(&dead_letters);
    assert_eq!(found.len(), 3, "it ends when they are published: {found:?}");
    for (draft, sent) in drafts.iter().zip(sent) {
        let offset = sent.offset.to_string();
        let its = |one: &&Found| header(one, "longshore-original-offset") == offset;
        let one = found.iter().find(its).expect("each is there");
        assert_eq!((&one.key, &one.value), (&draft.key, &draft.value));
        assert_eq!(one.headers[..draft.headers.len()], draft.headers, "as they came, ours behind");
        let topic = &stage.topic.name;
        assert_eq!(header(one, "longshore-id"), format!("{}/{topic}/0/{offset}", stage.group));
        assert_eq!(header(one, "longshore-original-topic"), *topic);
        assert_eq!(header(one, "longshore-original-partition"), "0");
        assert_eq!(header(one, "longshore-original-timestamp"), "1750000000123");
        assert_eq!(header(one, "longshore-pipeline"), "ads");
        assert_eq!(header(one, "longshore-attempts"), "1");
        assert_eq!(header(one, "longshore-reason"), "malformed");
        assert!(!header(one, "longshore-error").is_empty());
    }
    assert_eq!(stage.database.number(UNRELAYED), 0);
}

#[test]
fn killed_between_delivery_and_mark_it_repeats_under_the_same_ids_and_loses_none() {
    let Some((stage, dead_letters)) = set(3, &[]) else { return };
    stage.database.run(GATE);
    let mut gate = stage.database.another_connection();
    gate.batch_execute("select pg_advisory_lock(7)").expect("a lock");
    let sent = stage.send(61, Mix { malformed: 0.05, ..Mix::CLEAN }, 2_000);
    let service = publishing(stage.service(), &dead_letters);
    let mut first = service.start(&["run"]);
    // Saves of these partitions wait, too, for as long as the mark does.
    first.runs_until("some are delivered and none is marked", || {
        let delivered = dead_letters.ends().values().sum::<i64>();
        delivered > 0 && stage.database.sessions_that_wait_for_a_lock() > 0
    });
    let dead = "select count(*) from longshore.parked_records";
    assert_eq!(stage.database.number(UNRELAYED), stage.database.number(dead));
    first.kill();
    let before = times(&all_of(&dead_letters));
    assert!(!before.is_empty() && before.values().all(|times| *times == 1), "{before:?}");
    drop(gate);
    stage.database.run("drop trigger gate on longshore.parked_records");
    service.run_until_end();
    assert_eq!(stage.database.number(UNRELAYED), 0);
    let after = times(&all_of(&dead_letters));
    assert_eq!(after.len() as i64, stage.database.number(dead), "none is lost");
    assert!(before.keys().all(|id| after[id] > 1), "sent again under the same id: {after:?}");
    stage.exact(&sent);
}

#[test]
fn what_is_too_large_becomes_a_state_and_everything_else_goes_out() {
    // So small that together even small ones are too large.
    let Some((stage, dead_letters)) = set(1, &[("max.message.bytes", "10000")]) else { return };
    let noise = |length: usize| (0..length).map(|_| rand::random()).collect::<Vec<u8>>();
    let mut drafts: Vec<_> = (0..60).map(|_| unreadable(Some(b"k"), &noise(500), &[])).collect();
    drafts.insert(7, unreadable(Some(b"k"), &noise(50_000), &[]));
    stage.topic.send(drafts);
    let service = publishing(stage.service(), &dead_letters);
    service.run_until_end().expect_word("cannot be published");
    let offsets: BTreeSet<i64> = all_of(&dead_letters)
        .iter()
        .map(|found| header(found, "longshore-original-offset").parse().expect("a number"))
        .collect();
    assert_eq!(offsets, (0..61).filter(|offset| *offset != 7).collect());
    let id = r#"select id from longshore.parked_records where "offset" = 7 and relayed_at is null
        and relay_error is not null"#;
    let id = stage.database.number(id).to_string();
    assert_eq!(stage.database.number(UNRELAYED), 1);
    service.finish(&["parked", "show", &id]).expect_code(0).expect_word("unsendable");
    let listed = service.finish(&["parked", "list", "--json"]).expect_code(0).stdout;
    assert!(listed.contains("relay_error"), "{listed}");
    // It is not tried again by itself; sent again and dead again, it is.
    service.run_until_end();
    service.finish(&["parked", "retry", "--id", &id, "--yes"]).expect_code(0);
    service.run_until_end().expect_word("cannot be published");
}

#[test]
fn of_two_instances_each_sends_what_its_own_partitions_have() {
    let Some((stage, dead_letters)) = set(4, &[]) else { return };
    let mix = Mix { malformed: 0.05, ..Mix::CLEAN };
    let mut generator = stage.generator(63, mix);
    let service = publishing(stage.service(), &dead_letters);
    let mut one = service.start(&["run"]);
    let mut other = service.start(&["run"]);
    one.runs_until("both have partitions", || stage.owners() == 2);
    let mut sent = stage.topic.send(generator.records(2_000));
    stage.await_end(&mut one);
    one.runs_until("all are published", || stage.database.number(UNRELAYED) == 0);
    let once = times(&all_of(&dead_letters));
    assert!(once.len() > 50 && once.values().all(|times| *times == 1), "{once:?}");
    // What one leaves behind, the other goes on with.
    stage.send_more(&mut sent, generator.records(2_000));
    one.terminate().expect_code(0);
    stage.await_end(&mut other);
    other.runs_until("all are published", || stage.database.number(UNRELAYED) == 0);
    other.terminate().expect_code(0);
    let all = times(&all_of(&dead_letters));
    let dead = stage.database.number("select count(*) from longshore.parked_records");
    assert_eq!(all.len() as i64, dead);
    stage.exact(&sent);
}

#[test]
fn without_a_dead_letter_topic_nothing_is_published_and_a_missing_one_is_found_before() {
    let Some((stage, dead_letters)) = set(1, &[]) else { return };
    stage.topic.send(vec![unreadable(None, b"{", &[])]);
    stage.service().run_until_end();
    assert_eq!(stage.database.number(UNRELAYED), 1);
    let service = publishing(stage.service(), &dead_letters);
    service.finish(&["check"]).expect_code(0).expect_word(&dead_letters.name);
    // What was dead before goes out, too.
    service.run_until_end();
    assert_eq!(all_of(&dead_letters).len(), 1);
    let missing = stage.service().set("pipelines.ads", "dead_letter_topic", "\"no.such.topic\"");
    missing.finish(&["check"]).expect_code(1).expect_word("--create --topic no.such.topic");
    let own = stage.service();
    let own = own.set("pipelines.ads", "dead_letter_topic", &format!("\"{}\"", stage.topic.name));
    own.finish(&["check"]).expect_code(2).expect_word("dead_letter_topic");
}
