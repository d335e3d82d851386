//! How events are written: the usual way, every odd way that means the same, and ways that mean
//! nothing. Written by hand, so that no JSON library of ours agrees with the product's by accident.

use std::fmt::Write;

use chrono::{DateTime, FixedOffset, SecondsFormat};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::records::Event;

/// A field's name and its value as JSON.
type Field = (&'static str, String);

/// The event as JSON.
pub(crate) fn spell(event: &Event, rng: &mut StdRng, odd: bool) -> Vec<u8> {
    let odd = odd && rng.random_bool(0.25);
    let mut fields = fields(event, rng, odd);
    if odd {
        if event.placement.is_none() && rng.random_bool(0.5) {
            fields.retain(|(name, _)| *name != "placement");
        }
        fields.push(("unknown", r#"{"nested":[1,{"kind":"view"}],"cost_micros":-1}"#.to_owned()));
        fields.shuffle(rng);
    }
    object(&fields, if odd { "\n\t " } else { "" })
}

/// An id of a user; the odd ones are valid text all the same.
pub(crate) fn user_id(rng: &mut StdRng, odd: bool) -> String {
    let number = rng.random_range(0..1_000_000);
    match rng.random_range(0..20) {
        0 if odd => String::new(),
        1 if odd => format!("ünïcode-{number}-🚢"),
        2 if odd => format!("quote\"back\\slash/{number}\ttab\nline\u{7f}"),
        _ => format!("user-{number}"),
    }
}

/// A placement, or none.
pub(crate) fn placement(rng: &mut StdRng) -> Option<String> {
    match rng.random_range(0..5) {
        0 => None,
        nth => Some(["top", "sidebar", "footer", ""][nth as usize - 1].to_owned()),
    }
}

/// A time of the last years, seldom one before 1970, seldom one of a whole second.
pub(crate) fn occurred_micros(rng: &mut StdRng, odd: bool) -> i64 {
    let micros = rng.random_range(1_700_000_000_000_000..1_790_000_000_000_000_i64);
    match rng.random_range(0..50) {
        0 if odd => micros - 2_500_000_000_000_000,
        1..5 => micros / 1_000_000 * 1_000_000,
        _ => micros,
    }
}

/// Bytes that are no event, and in which way they are not.
pub(crate) fn misspell(event: &Event, rng: &mut StdRng) -> (Vec<u8>, &'static str) {
    let fields = fields(event, rng, false);
    if rng.random_bool(0.5) {
        return misspell_whole(&fields, rng);
    }
    let (name, value) = WRONG_VALUES[rng.random_range(0..WRONG_VALUES.len())];
    let wrong = fields
        .into_iter()
        .map(
            |(field, right)| if field == name { (field, value.to_owned()) } else { (field, right) },
        )
        .collect::<Vec<_>>();
    (object(&wrong, ""), value)
}

/// Values that their field must not have.
const WRONG_VALUES: [(&str, &str); 27] = [
    ("event_id", "\"6f1b1c1e\""),
    ("event_id", "\"zf1b1c1e-0000-4000-8000-000000000000\""),
    ("event_id", "17"),
    ("event_id", "null"),
    ("kind", "\"view\""),
    ("kind", "\"Click\""),
    ("kind", "null"),
    ("advertiser_id", "\"3\""),
    ("advertiser_id", "3.0"),
    ("advertiser_id", "3e0"),
    ("advertiser_id", "true"),
    ("campaign_id", "9223372036854775808"),
    ("campaign_id", "[1000000000000]"),
    ("campaign_id", "null"),
    ("user_id", "7"),
    ("user_id", "null"),
    ("user_id", r#""nul \u0000 inside""#),
    ("user_id", r#""half a pair \ud83d""#),
    ("user_id", "\"a line\nbreak\""),
    ("placement", "5"),
    ("cost_micros", "1.5"),
    ("cost_micros", "\"12\""),
    ("cost_micros", "-9223372036854775809"),
    ("occurred_at", "\"yesterday\""),
    ("occurred_at", "\"2026-02-30T00:00:00Z\""),
    ("occurred_at", "\"2026-02-03T25:00:00Z\""),
    ("occurred_at", "1767225600"),
];

fn misspell_whole(fields: &[Field], rng: &mut StdRng) -> (Vec<u8>, &'static str) {
    let right = object(fields, "");
    let with = |name: &'static str, value: &str| {
        let mut more = fields.to_vec();
        more.push((name, value.to_owned()));
        object(&more, "")
    };
    match rng.random_range(0..11) {
        0 => (right[..right.len() / 2].to_vec(), "cut off"),
        1 => (b"hello".to_vec(), "no JSON"),
        2 => (Vec::new(), "empty, but not null"),
        3 => (b"null".to_vec(), "the word null"),
        4 => (array(fields), "the fields as an array"),
        5 => ([&right[..], b" x"].concat(), "something after it"),
        6 => ([&right[..], &right[..]].concat(), "two of them"),
        7 => {
            let missing = rng.random_range(0..fields.len());
            let mut rest = fields.to_vec();
            // A missing placement is no mistake.
            let missing = if rest[missing].0 == "placement" { 0 } else { missing };
            rest.remove(missing);
            (object(&rest, ""), "a field missing")
        }
        8 => (with("cost_micros", "1"), "a key twice"),
        9 => (with("k\\u0069nd", "\"click\""), "a key twice, once escaped"),
        _ => {
            let mut bytes = with("user", "\"?\"");
            let at = bytes.iter().rposition(|byte| *byte == b'?').expect("the mark");
            bytes[at] = 0xff;
            (bytes, "no UTF-8")
        }
    }
}

fn fields(event: &Event, rng: &mut StdRng, odd: bool) -> Vec<Field> {
    let id = event.event_id.to_string();
    let id = if odd && rng.random_bool(0.2) { id.to_uppercase() } else { id };
    let placement = event.placement.as_ref().map_or("null".to_owned(), |text| string(text, odd));
    vec![
        ("event_id", format!("\"{id}\"")),
        ("kind", format!("\"{}\"", if event.click { "click" } else { "impression" })),
        ("advertiser_id", event.advertiser_id.to_string()),
        ("campaign_id", event.campaign_id.to_string()),
        ("user_id", string(&event.user_id, odd)),
        ("placement", placement),
        ("cost_micros", event.cost_micros.to_string()),
        ("occurred_at", format!("\"{}\"", time(event.occurred_micros, rng, odd))),
    ]
}

fn object(fields: &[Field], space: &str) -> Vec<u8> {
    let inner = fields
        .iter()
        .map(|(name, value)| format!("{space}\"{name}\"{space}:{space}{value}"))
        .collect::<Vec<_>>();
    format!("{{{}{space}}}", inner.join(",")).into_bytes()
}

fn array(fields: &[Field]) -> Vec<u8> {
    let values = fields.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>();
    format!("[{}]", values.join(",")).into_bytes()
}

/// A JSON string; the odd way escapes all that is not ASCII, and the slash.
fn string(text: &str, odd: bool) -> String {
    let mut json = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '/' if odd => json.push_str("\\/"),
            letter if letter < ' ' || (odd && !letter.is_ascii()) => {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    let _ = write!(json, "\\u{unit:04x}");
                }
            }
            letter => json.push(letter),
        }
    }
    json.push('"');
    json
}

/// RFC 3339; the odd ways have another zone, nanoseconds (to be cut), or no fraction.
fn time(micros: i64, rng: &mut StdRng, odd: bool) -> String {
    let utc = DateTime::from_timestamp_micros(micros).expect("a time of these centuries");
    if !odd {
        return utc.to_rfc3339_opts(SecondsFormat::Micros, true);
    }
    match rng.random_range(0..4) {
        0 if micros % 1_000_000 == 0 => utc.to_rfc3339_opts(SecondsFormat::Secs, true),
        0 | 1 => {
            let quarters = rng.random_range(-48..=48);
            let zone = FixedOffset::east_opt(quarters * 900).expect("a zone");
            utc.with_timezone(&zone).to_rfc3339_opts(SecondsFormat::Micros, false)
        }
        2 => utc.to_rfc3339_opts(SecondsFormat::Micros, true).replace('Z', "+00:00"),
        _ => utc.to_rfc3339_opts(SecondsFormat::Micros, true).replace('Z', "999Z"),
    }
}
