//! Readers of JSON values that are stricter than serde's own, for `deserialize_with`.

use std::fmt;

use chrono::{DateTime, NaiveDate, Utc};
use serde::de::value::StrDeserializer;
use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// Reads a time in RFC 3339, cut to microseconds, which is what PostgreSQL keeps.
///
/// # Errors
/// A value that is not a string, or not such a time.
pub fn time<'de, D: Deserializer<'de>>(from: D) -> Result<DateTime<Utc>, D::Error> {
    from.deserialize_str(OfStr("a time in RFC 3339", |text: &str| {
        if let Some(time) = usual(text.as_bytes()) {
            return Ok(time);
        }
        let time = DateTime::parse_from_rfc3339(text)
            .map_err(|error| format!("not a time in RFC 3339: {text:?}: {error}"))?;
        // Rounds down; a leap second is the first of the next minute, as in PostgreSQL.
        DateTime::from_timestamp_micros(time.timestamp_micros())
            .ok_or_else(|| format!("a time out of range: {text:?}"))
    }))
}

/// Reads a time as nearly all are written, `2026-11-22T12:34:56.789Z`, which takes a fifth of the
/// time. `None`: it is written otherwise, or wrong.
fn usual(text: &[u8]) -> Option<DateTime<Utc>> {
    let (head, fraction) = text.strip_suffix(b"Z")?.split_at_checked(19)?;
    let digits = |at: usize, len: usize| -> Option<u32> {
        head[at..at + len].iter().try_fold(0, |number, digit| {
            digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0'))
        })
    };
    let is_apart = [head[4], head[7], head[10], head[13], head[16]] == *b"--T::";
    let day =
        NaiveDate::from_ymd_opt(i32::try_from(digits(0, 4)?).ok()?, digits(5, 2)?, digits(8, 2)?)?;
    let time =
        day.and_hms_micro_opt(digits(11, 2)?, digits(14, 2)?, digits(17, 2)?, micros(fraction)?)?;
    is_apart.then(|| time.and_utc())
}

/// Reads `.` and digits, of which the first six count; nothing is 0.
fn micros(fraction: &[u8]) -> Option<u32> {
    let Some((point, digits)) = fraction.split_first() else { return Some(0) };
    let is_sound = *point == b'.' && !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let digit = |at: usize| digits.get(at).map_or(0, |digit| u32::from(digit - b'0'));
    is_sound.then(|| (0..6).fold(0, |micros, at| micros * 10 + digit(at)))
}

/// Reads one of an enum's words from a string, and from nothing else: serde's own reader takes
/// `{"word": null}` as well.
///
/// # Errors
/// A value that is not a string, or none of the words.
pub fn word<'de, D: Deserializer<'de>, T: Deserialize<'static>>(from: D) -> Result<T, D::Error> {
    from.deserialize_str(OfStr("a string", |text: &str| {
        T::deserialize(StrDeserializer::<serde::de::value::Error>::new(text))
            .map_err(|error| error.to_string())
    }))
}

/// Visits a string, without a copy of it.
struct OfStr<F>(&'static str, F);

impl<T, F: Fn(&str) -> Result<T, String>> Visitor<'_> for OfStr<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.1)(text).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(text: &str) -> [Option<DateTime<Utc>>; 2] {
        let parsed = DateTime::parse_from_rfc3339(text).ok();
        let cut = parsed.and_then(|time| DateTime::from_timestamp_micros(time.timestamp_micros()));
        [usual(text.as_bytes()), cut]
    }

    #[test]
    fn what_is_read_the_short_way_is_what_the_long_way_reads() {
        for text in [
            "2026-11-22T12:34:56Z",
            "2026-11-22T12:34:56.7Z",
            "2026-11-22T23:59:59.1234567899Z",
            "0000-02-29T00:00:00.000001Z",
            "9999-12-31T23:59:59.999999Z",
        ] {
            let [short, long] = both(text);
            assert!(short.is_some(), "{text}");
            assert_eq!(short, long, "{text}");
        }
    }

    #[test]
    fn what_is_written_otherwise_or_wrong_is_left_to_the_long_way() {
        for text in [
            "2026-11-22T12:34:60Z",
            "2026-11-22T12:34:56.Z",
            "2026-11-22T12:34:56,5Z",
            "2026-13-22T12:34:56Z",
            "2026-02-29T12:34:56Z",
            "2026-11-22T24:00:00Z",
            "2026-11-22 12:34:56Z",
            "2026-11-22T12:34:56+01:00",
            "2026-11-22T12:34:56z",
            "+026-11-22T12:34:56Z",
            "2026-11-22T12:34:5Z",
            "Z",
            "",
        ] {
            assert_eq!(usual(text.as_bytes()), None, "{text}");
        }
    }
}
