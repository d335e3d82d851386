//! Whatever text comes, it is read as serde_json reads it, into whatever type; and what is usual is
//! read without serde_json.

mod texts;
mod types;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Debug;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use self::types::{Ad, Deep, Flat, Kind, Nothing, Seen, Strict, Swallowed, Tagged, Untagged};
use super::{DEPTH_MAX, read};

/// The same cases each time.
fn runner(cases: u32) -> TestRunner {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

/// What the fast reader has read, serde_json must read as well. Answers whether it has: if not, it
/// is serde_json who is asked, and nothing can differ.
fn alike<'a, E: Deserialize<'a> + Debug>(text: &'a str) -> Result<bool, TestCaseError> {
    let Some(value) = read::<E>(text) else { return Ok(false) };
    // Not all values are equal to themselves; but all look like it, to the last digit of a float.
    let by_serde = serde_json::from_str::<E>(text).map(|value| format!("{value:?}"));
    let by_serde = by_serde.map_err(|error| error.to_string());
    prop_assert_eq!(Ok(format!("{value:?}")), by_serde, "of {}", text);
    Ok(true)
}

/// How many of the types have read `text`.
fn all_alike(text: &str) -> Result<usize, TestCaseError> {
    let read = [
        alike::<Ad<'_>>(text)?,
        alike::<Deep>(text)?,
        alike::<Strict>(text)?,
        alike::<Tagged>(text)?,
        alike::<Untagged>(text)?,
        alike::<Flat>(text)?,
        alike::<Value>(text)?,
        alike::<IgnoredAny>(text)?,
        alike::<BTreeMap<Kind, IgnoredAny>>(text)?,
        alike::<BTreeMap<u16, Value>>(text)?,
        alike::<BTreeMap<Option<String>, Value>>(text)?,
        alike::<BTreeMap<&str, Nothing>>(text)?,
        alike::<BTreeMap<String, Vec<Nothing>>>(text)?,
        alike::<BTreeMap<String, Swallowed<u8, true>>>(text)?,
        alike::<BTreeMap<String, Swallowed<u8, false>>>(text)?,
        alike::<BTreeMap<String, Swallowed<Vec<u8>, false>>>(text)?,
        alike::<BTreeMap<String, Swallowed<Strict, false>>>(text)?,
        alike::<BTreeMap<String, Swallowed<Kind, false>>>(text)?,
        alike::<BTreeMap<String, Swallowed<f64, false>>>(text)?,
        alike::<Seen<0>>(text)?,
    ];
    let seen = ways(text)?;
    Ok(read.into_iter().map(usize::from).sum::<usize>() + seen)
}

/// The same of all ways to ask for the fields of an object, or the items of a list.
fn ways(text: &str) -> Result<usize, TestCaseError> {
    macro_rules! ways {
        ($($way:literal)*) => {[$(
            alike::<Seen<$way>>(text)?,
            alike::<BTreeMap<String, Seen<$way>>>(text)?,
            alike::<Vec<Seen<$way>>>(text)?,
        )*]};
    }
    let read = ways![1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17];
    Ok(read.into_iter().map(usize::from).sum())
}

/// Holds both readers against each other over texts; so many times at least a type must have read
/// one.
fn hold(cases: u32, texts: &impl Strategy<Value = String>, at_least: usize) {
    let read = Cell::new(0);
    let run = runner(cases).run(texts, |text| {
        read.set(read.get() + all_alike(&text)?);
        Ok(())
    });
    run.unwrap();
    assert!(read.get() >= at_least, "{} values were read", read.get());
}

#[test]
fn values_are_read_as_serde_json_reads_them() {
    hold(3000, &texts::value(), 20_000);
    hold(3000, &texts::object(texts::value()), 10_000);
    hold(500, &texts::ad(), 2_000);
}

#[test]
fn spoilt_values_are_read_as_serde_json_reads_them() {
    let texts = prop_oneof![texts::value(), texts::object(texts::value()), texts::ad()];
    let spoilt = (texts, texts::mutations());
    hold(10_000, &spoilt.prop_map(|(text, how)| texts::mutated(&text, how)), 5_000);
}

#[test]
fn soups_are_read_as_serde_json_reads_them() {
    let soup = r#"([\[\]{}:,"\\ 0-9eE.+-]|null|true|"kind"|"click"|"map"|\\u[0-9a-f]{4}){0,30}"#;
    let inside = soup.prop_map(|soup| format!("{{\"a\":[{soup}]}}"));
    hold(6000, &prop_oneof![soup, inside], 0);
}

#[test]
fn what_hardly_comes_up_by_itself_is_read_as_serde_json_reads_it() {
    for text in [
        // To types that read nothing of their items.
        "[,]",
        "[,,]",
        "[1]",
        r#"{"a":[,]}"#,
        r#"{"a":[,,]}"#,
        r#"{"a":,}"#,
        r#"{"a":}"#,
        // To types that go on behind an error, where serde_json has passed a comma.
        r#"{"a":[300,"b":[]}"#,
        r#"{"a":[300],"b":1}"#,
        r#"{"a":{"flag":1,"b":{}}"#,
        r#"{"a":{"kind":"x","b":{}}"#,
        r#"{"a":{"kind":"x"},"b":{}}"#,
        r#"{"a":300,"b":1}"#,
        // In strings that nobody reads.
        r#"{"x":"\ud83d"}"#,
        r#"{"x":"\u12"}"#,
        r#"{"x":"\u+123"}"#,
        "{\"x\":\"\u{1}\"}",
        "",
        " ",
        "\0",
        "{}\0",
        "{}\u{feff}",
        "\"",
        "\"\\",
        "\"\\u",
        "[",
        "{",
        "-",
        "1.",
        "nul",
        "nulll",
    ] {
        all_alike(text).unwrap();
    }
}

#[test]
fn usual_records_are_read_without_serde_json() {
    let run = runner(2000).run(&texts::ad(), |text| {
        let is_right = serde_json::from_str::<Ad<'_>>(&text).is_ok();
        prop_assert_eq!(alike::<Ad<'_>>(&text)?, is_right, "{}", text);
        Ok(())
    });
    run.unwrap();
    for text in [
        r#"{"map":{"a":1.25,"b":-0.5,"c":3,"d":null},"flag":true,"small":255,"ratio":12345.678}"#,
        r#"{"items":[{"items":[]},{"kind":"click","letter":"\u00e9"}],"pair":[1,"\ud83d\ude00"]}"#,
        r#" { "numbers" : { "-3" : null } , "unit" : null , "wide" : 1893456000123 , "x":[1e9] } "#,
    ] {
        assert!(alike::<Deep>(text).unwrap(), "{text}");
    }
    for text in [r#"{"a":[1,-2,{"b":"\n"},null]}"#, "{}", "[[],[[]]]", "\"\"", "0"] {
        assert!(alike::<Value>(text).unwrap() && alike::<IgnoredAny>(text).unwrap(), "{text}");
    }
    assert!(alike::<Tagged>(r#"{"kind":"click","small":1,"more":{}}"#).unwrap());
    assert!(alike::<Untagged>(r#"[1,"a",{"b":[]}]"#).unwrap());
}

#[test]
fn what_is_unusual_is_left_to_serde_json() {
    for text in ["1e3", "1.5", "-0", "18446744073709551615", "-9223372036854775808"] {
        assert!(!alike::<Value>(text).unwrap(), "{text}");
    }
    assert!(!alike::<Deep>(r#"{"single":1.1}"#).unwrap(), "a float of half the size");
    assert!(!alike::<Deep>(r#"{"kind":{"view":1}}"#).unwrap(), "an enum's fields");
    assert!(!alike::<Strict>(r#"["click",true,1,[]]"#).unwrap(), "fields in a list");
    assert!(!alike::<Value>(r#""\ud83d""#).unwrap(), "half of a pair");
}

#[test]
fn nothing_is_read_deeper_than_it_may_be() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let depth = DEPTH_MAX as usize;
    assert!(alike::<Value>(&nested(depth)).unwrap());
    assert!(!alike::<Value>(&nested(depth + 1)).unwrap());
    assert!(!alike::<IgnoredAny>(&nested(100_000)).unwrap());
}
