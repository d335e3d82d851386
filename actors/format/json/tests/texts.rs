//! JSON in all its spellings, and what is nearly JSON.

use proptest::collection::vec;
use proptest::prelude::*;

/// Names of the fields of all types that are read here, and some that none has.
pub(super) const NAMES: &str = "event_id|kind|advertiser_id|campaign_id|user_id|placement|\
    cost_micros|occurred_at|items|map|numbers|flag|small|ratio|single|pair|wide|letter|unit|value|\
    tag|click|impression|view|other|7|-3|0|1.5";

/// Blanks, mostly none.
fn blank() -> impl Strategy<Value = String> {
    prop_oneof![8 => Just(String::new()), 1 => "[ \n\r\t]{1,3}", 1 => Just(" ".to_owned())]
}

/// One letter of a string, spelt somehow.
fn letter() -> impl Strategy<Value = String> {
    prop_oneof![
        20 => "[a-z0-9 :.,{}\\[\\]-]{1,9}",
        2 => "[^\"\\\\\\x00-\\x1f]",
        2 => "\\\\[\"\\\\/bfnrt]",
        2 => "\\\\u[0-9a-fA-F]{4}",
        1 => "\\\\u[dD][89abAB][0-9a-f]{2}\\\\u[dD][c-fC-F][0-9a-f]{2}",
    ]
}

fn string() -> impl Strategy<Value = String> {
    let name = prop::string::string_regex(NAMES).expect("it is one");
    let time = "20[0-9]{2}-0[1-9]-[0-2][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?Z";
    let any = vec(letter(), 0..4).prop_map(|letters| letters.concat());
    let letter = letter();
    prop_oneof![3 => name, 1 => time, 3 => any, 1 => letter].prop_map(|text| format!("\"{text}\""))
}

fn number() -> impl Strategy<Value = String> {
    let odd = "-?(0|[1-9][0-9]{0,2}|[0-9]{7,22})(\\.[0-9]{1,18})?([eE][+-]?[0-9]{1,3})?";
    let short = "-?(0|[1-9][0-9]{0,9})\\.[0-9]{1,7}";
    let edge = "18446744073709551615|18446744073709551616|-9223372036854775808|\
        9223372036854775807|9223372036854775808|-9223372036854775809|9999999999999999999|-0|0|00";
    prop_oneof![
        3 => any::<i64>().prop_map(|number| number.to_string()),
        3 => any::<u8>().prop_map(|number| number.to_string()),
        2 => short, 2 => odd, 1 => edge,
    ]
}

/// A value.
pub(super) fn value() -> impl Strategy<Value = String> {
    let word = prop_oneof![Just("null"), Just("true"), Just("false")].prop_map(str::to_owned);
    let leaf = prop_oneof![3 => string(), 3 => number(), 2 => word];
    leaf.prop_recursive(5, 48, 6, |inner| {
        let item =
            (blank(), inner.clone(), blank()).prop_map(|(a, item, b)| a + &item + &b).boxed();
        let list = vec(item, 0..6).prop_map(|items| format!("[{}]", items.join(",")));
        prop_oneof![1 => list, 2 => object(inner).boxed()]
    })
}

/// An object of such values; names may repeat.
pub(super) fn object(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let field = (blank(), string(), blank(), blank(), value, blank());
    let field = field.prop_map(|(a, name, b, c, value, d)| format!("{a}{name}{b}:{c}{value}{d}"));
    (vec(field, 0..8), blank()).prop_map(|(fields, end)| match fields.is_empty() {
        true => format!("{{{end}}}"),
        false => format!("{{{}}}", fields.join(",")),
    })
}

/// A usual record of ads.
pub(super) fn ad() -> impl Strategy<Value = String> {
    let id = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}";
    let kind = prop_oneof![Just("click"), Just("impression")];
    let placement = prop_oneof![
        Just(String::new()),
        Just("\"placement\":null,".to_owned()),
        string().prop_map(|text| format!("\"placement\":{text},")),
    ];
    let time = "2026-[01][0-9]-[0-2][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]\\.[0-9]{6}Z";
    let parts =
        (id, kind, 1..99_999_i64, any::<i32>(), "u-[0-9]{1,6}", placement, any::<i64>(), time);
    parts.prop_map(|(id, kind, advertiser, campaign, user, placement, cost, time)| {
        let cost = cost.max(-i64::MAX);
        format!(
            "{{\"event_id\":\"{id}\",\"kind\":\"{kind}\",\"advertiser_id\":{advertiser},\
             \"campaign_id\":{campaign},\"user_id\":\"{user}\",{placement}\
             \"cost_micros\":{cost},\"occurred_at\":\"{time}\"}}"
        )
    })
}

/// How to spoil a text: what, where, and with which letter.
pub(super) fn mutations() -> impl Strategy<Value = Vec<(u8, usize, usize, char)>> {
    let one_of = |letters: &str| prop::sample::select(letters.chars().collect::<Vec<_>>());
    let letter = prop_oneof![
        6 => one_of("{}[],:\"\\ \n\t0123456789-+.eEunrtbf/"),
        1 => one_of("\0\u{1}\u{1f}\u{7f}\u{a0}\u{feff}\u{e9}\u{1f600}"),
        1 => any::<char>(),
    ];
    vec((any::<u8>(), any::<usize>(), any::<usize>(), letter), 1..4)
}

/// Does it.
pub(super) fn mutated(text: &str, mutations: Vec<(u8, usize, usize, char)>) -> String {
    let mut text: Vec<char> = text.chars().collect();
    for (how, at, other, letter) in mutations {
        let (at, other) = (at % (text.len() + 1), other % (text.len() + 1));
        let range = at.min(other)..at.max(other);
        match how % 6 {
            0 => text.insert(at, letter),
            1 => drop(text.drain(range.start..range.end.min(range.start + 4))),
            2 => text.extend_from_within(range),
            3 => text.truncate(at),
            4 => {
                let part = text[range.start..range.end.min(range.start + 12)].to_vec();
                text.splice(other..other, part).for_each(drop);
            }
            _ => {
                if let Some(old) = text.get_mut(at) {
                    *old = letter;
                }
            }
        }
    }
    text.into_iter().collect()
}
