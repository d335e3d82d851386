//! Odd values, each between two plain ones: empty, huge, no text at all, nested without end,
//! numbers and times at their limits. Each is saved, skipped or parked, as it should be; what is
//! parked is parked byte for byte; and the records around it are saved.

mod support;

use chrono::DateTime;
use support::records::{Draft, Event, Generator, Mix};
use support::stage::Stage;

/// Levels that no stack has room for, if each takes some of it.
const DEEP: usize = 100_000;

/// Nearly as much as a broker takes by default.
const MEGABYTE: usize = 1_000_000;

const PLAIN: Mix = Mix { odd_spelling: false, ..Mix::CLEAN };

/// Sends each of `odd` between two plain records, over three partitions, and compares everything
/// with the model.
fn try_out(seed: u64, odd: impl FnOnce(&mut Generator) -> Vec<Draft>) {
    let Some(stage) = Stage::set(3) else { return };
    let mut records = stage.generator(seed, PLAIN);
    let mut drafts = Vec::new();
    for (nth, mut draft) in odd(&mut records).into_iter().enumerate() {
        draft.partition = nth as i32 % 3;
        let (before, after) = (records.event(), records.event());
        drafts.push(records.record(draft.partition, before));
        let after = records.record(draft.partition, after);
        drafts.extend([draft, after]);
    }
    let sent = stage.topic.send(drafts);
    stage.service().run_until_end();
    stage.exact(&sent);
    // And they can be looked at.
    let ids = stage.database.query("select id from longshore.parked_records", &[]);
    for row in ids.iter().take(5) {
        let id = row.get::<_, i64>(0).to_string();
        stage.service().finish(&["parked", "show", &id]).expect_code(0);
    }
}

/// The JSON of `event`, with these fields as they are written here, and more at its end.
fn written(event: &Event, fields: &[(&str, &str)], more: &str) -> Vec<u8> {
    let time = DateTime::from_timestamp_micros(event.occurred_micros).expect("a time");
    let plain = [
        ("event_id", format!("\"{}\"", event.event_id)),
        ("kind", format!("\"{}\"", if event.click { "click" } else { "impression" })),
        ("advertiser_id", event.advertiser_id.to_string()),
        ("campaign_id", event.campaign_id.to_string()),
        ("user_id", format!("\"{}\"", event.user_id)),
        ("placement", "null".to_owned()),
        ("cost_micros", event.cost_micros.to_string()),
        ("occurred_at", format!("\"{}\"", time.to_rfc3339())),
    ];
    let field = |(name, value): &(&str, String)| {
        let bent = fields.iter().find(|(other, _)| other == name).map(|(_, value)| *value);
        format!("\"{name}\":{}", bent.unwrap_or(value))
    };
    let all: Vec<String> = plain.iter().map(field).collect();
    format!("{{{}{more}}}", all.join(",")).into_bytes()
}

/// A plain event, whose JSON needs no escapes.
fn event(records: &mut Generator) -> Event {
    let user_id = "user-1".to_owned();
    Event { user_id, placement: None, ..records.event() }
}

/// A record that cannot be read: an event with one field so written.
fn rejected(records: &mut Generator, field: &str, value: &str) -> Draft {
    let event = event(records);
    records.unreadable_as(0, &written(&event, &[(field, value)], ""))
}

/// A record that says an event, changed by `meant`, with these fields so written.
fn read(
    records: &mut Generator,
    fields: &[(&str, &str)],
    more: &str,
    meant: impl FnOnce(&mut Event),
) -> Draft {
    let mut event = event(records);
    let value = written(&event, fields, more);
    meant(&mut event);
    Draft { value: Some(value), ..records.record(0, event) }
}

fn nested(open: &str, close: &str) -> String {
    format!("{}{}", open.repeat(DEEP), close.repeat(DEEP))
}

#[test]
fn what_is_no_event_at_all() {
    try_out(151, |records| {
        let no_text = [b"{\"user_id\":\"".as_slice(), &[0xff, 0xfe, 0xc3, 0x28], b"\"}"].concat();
        let spelt = event(records);
        let marked = [b"\xef\xbb\xbf".as_slice(), &written(&spelt, &[], "")].concat();
        let megabyte = vec![b'x'; MEGABYTE];
        let zeros = vec![0; 1000];
        let values: [&[u8]; 12] = [
            b"",
            b" ",
            b"\0",
            &zeros,
            &no_text,
            &[0xed, 0xa0, 0x80],
            &megabyte,
            &marked,
            b"null",
            b"true",
            b"1e400",
            b"\"text\"",
        ];
        let mut drafts: Vec<Draft> =
            values.iter().map(|value| records.unreadable_as(0, value)).collect();
        drafts.push(records.tombstone(0));
        drafts
    });
}

#[test]
fn nesting_without_end() {
    try_out(152, |records| {
        let (lists, objects) = (nested("[", "]"), nested("{\"a\":", "}").replace(":}", ":0}"));
        let unclosed = "[".repeat(DEEP);
        vec![
            records.unreadable_as(0, lists.as_bytes()),
            records.unreadable_as(0, objects.as_bytes()),
            records.unreadable_as(0, unclosed.as_bytes()),
            records.unreadable_as(0, "{\"a\":".repeat(DEEP).as_bytes()),
            rejected(records, "user_id", &lists),
            rejected(records, "cost_micros", &objects),
            // Unknown fields are ignored, however deep they are.
            read(records, &[], &format!(",\"more\":{lists}"), |_| ()),
            read(records, &[], &format!(",\"more\":{objects}"), |_| ()),
        ]
    });
}

#[test]
fn numbers_at_and_beyond_their_limits() {
    try_out(153, |records| {
        let forty = "1234567890123456789012345678901234567890";
        let mut drafts = Vec::new();
        for number in [
            "1e400",
            "-1e400",
            forty,
            "9223372036854775808",
            "-9223372036854775809",
            "1e3",
            "1.0",
            "0x10",
            "01",
            "+1",
            "NaN",
            "Infinity",
            "\"1\"",
            "",
        ] {
            for field in ["advertiser_id", "campaign_id", "cost_micros"] {
                drafts.push(rejected(records, field, number));
            }
        }
        let (most, least) = (i64::MAX.to_string(), i64::MIN.to_string());
        // Readable: the cost is saved or refused by the table, the ids are of nobody.
        drafts.push(read(records, &[("cost_micros", &most)], "", |e| e.cost_micros = i64::MAX));
        drafts.push(read(records, &[("cost_micros", &least)], "", |e| e.cost_micros = i64::MIN));
        drafts.push(read(records, &[("cost_micros", "0")], "", |e| e.cost_micros = 0));
        drafts.push(read(records, &[("advertiser_id", &most)], "", |e| e.advertiser_id = i64::MAX));
        drafts.push(read(records, &[("campaign_id", &least)], "", |e| e.campaign_id = i64::MIN));
        drafts.push(read(records, &[], &format!(",\"more\":{forty}"), |_| ()));
        drafts
    });
}

#[test]
fn times_at_and_beyond_their_limits() {
    try_out(154, |records| {
        let mut drafts = Vec::new();
        for time in [
            "10000-01-01T00:00:00Z",
            "-0001-01-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-10T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-12-31T23:59:61Z",
            "2026-01-01T00:00:00",
            "2026-01-01",
            "2026-01-01T00:00:00+24:00",
            "infinity",
            "now",
            "",
        ] {
            drafts.push(rejected(records, "occurred_at", &format!("\"{time}\"")));
        }
        // Second of 1970 UTC, and microseconds: a leap second is the first of the next minute.
        for (time, micros) in [
            ("0000-01-01T00:00:00Z", -62_167_219_200_000_000),
            ("9999-12-31T23:59:59.999999999Z", 253_402_300_799_999_999),
            ("9999-12-31T23:59:59-23:59", 253_402_387_139_000_000),
            ("2016-12-31T23:59:60Z", 1_483_228_800_000_000),
            ("2016-12-31T23:59:60.75Z", 1_483_228_800_750_000),
            ("1969-12-31T23:59:59.9999999Z", -1),
        ] {
            let written = format!("\"{time}\"");
            let field = [("occurred_at", written.as_str())];
            drafts.push(read(records, &field, "", |event| event.occurred_micros = micros));
        }
        drafts
    });
}

#[test]
fn keys_that_are_there_twice_and_texts_of_every_kind() {
    try_out(155, |records| {
        let mut drafts = Vec::new();
        for more in [
            ",\"user_id\":\"user-1\"",
            ",\"cost_micros\":1",
            ",\"placement\":null",
            ",\"k\\u0069nd\":\"click\"",
            ",\"event_id\":null",
        ] {
            let event = event(records);
            drafts.push(records.unreadable_as(0, &written(&event, &[], more)));
        }
        for text in ["\"a\\u0000b\"", "\"\\ud83d\"", "\"a\nb\"", "\"\\x\"", "'a'", "[]"] {
            drafts.push(rejected(records, "user_id", text));
        }
        let long = "ü".repeat(MEGABYTE / 2 - 1000);
        for text in ["", "🦀 \u{10ffff}", "a\u{7f}\u{202e}b", &long] {
            let written = format!("\"{text}\"");
            let field = [("user_id", written.as_str())];
            drafts.push(read(records, &field, "", |event| event.user_id = text.to_owned()));
        }
        drafts
    });
}

#[test]
fn headers_of_every_kind_on_what_is_saved_skipped_and_parked() {
    try_out(156, |records| {
        let headers = vec![
            ("trace".to_owned(), None),
            ("trace".to_owned(), Some(b"one".to_vec())),
            ("trace".to_owned(), None),
            ("trace".to_owned(), Some(Vec::new())),
            (String::new(), Some(vec![0, 255, 10])),
            ("nul".to_owned(), Some(b"\0".to_vec())),
            ("long".to_owned(), Some(vec![0xc3; 100_000])),
        ];
        let mut drafts = vec![records.unreadable_as(0, b"{"), records.tombstone(0)];
        drafts.push(read(records, &[], "", |_| ()));
        drafts.push(rejected(records, "kind", "\"view\""));
        let keys = [None, Some(Vec::new()), Some(vec![0, 255]), Some(vec![b'k'; 100_000])];
        let with = |(draft, key): (Draft, Option<Vec<u8>>)| Draft {
            headers: headers.clone(),
            key,
            ..draft
        };
        drafts.into_iter().zip(keys.into_iter().cycle()).map(with).collect()
    });
}
