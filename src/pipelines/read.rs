//! Readers of JSON values that are stricter than serde's own, for `deserialize_with`.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::de::value::StrDeserializer;
use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// Reads a time in RFC 3339, cut to microseconds, which is what PostgreSQL keeps.
///
/// # Errors
/// A value that is not a string, or not such a time.
pub fn time<'de, D: Deserializer<'de>>(from: D) -> Result<DateTime<Utc>, D::Error> {
    from.deserialize_str(OfStr("a time in RFC 3339", |text: &str| {
        let time = DateTime::parse_from_rfc3339(text)
            .map_err(|error| format!("not a time in RFC 3339: {text:?}: {error}"))?;
        // Rounds down; a leap second is the first of the next minute, as in PostgreSQL.
        DateTime::from_timestamp_micros(time.timestamp_micros())
            .ok_or_else(|| format!("a time out of range: {text:?}"))
    }))
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
