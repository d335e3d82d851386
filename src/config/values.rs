//! How single values are written. A file says `10000` where the environment can only say `"10000"`,
//! so each type here reads both; what it expects is told in one phrase, for the error.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use bytesize::ByteSize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Unexpected, Visitor};

use super::raw::RawBudget;

/// A single value. Numbers and booleans are read by way of their text, so that a file and the
/// environment follow one rule.
pub(super) trait Scalar: Sized {
    /// What is right, to follow "must be".
    const EXPECTED: &'static str;

    /// Reads it.
    fn from_text(text: &str) -> Option<Self>;
}

impl Scalar for u64 {
    const EXPECTED: &'static str = "a whole number, 0 or more";

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Scalar for f64 {
    const EXPECTED: &'static str = "a number, such as 0.5";

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Scalar for bool {
    const EXPECTED: &'static str = "true or false";

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Scalar for Duration {
    const EXPECTED: &'static str = "a duration with its unit, such as \"50 ms\" or \"1m 30s\"";

    fn from_text(text: &str) -> Option<Self> {
        humantime::parse_duration(text).ok()
    }
}

impl Scalar for ByteSize {
    const EXPECTED: &'static str = "a size, such as \"64 MiB\", or a number of bytes";

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// The value of a librdkafka property: librdkafka takes text, people write numbers and booleans.
impl Scalar for String {
    const EXPECTED: &'static str = "a text, a number or a boolean";

    fn from_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

/// A [`Scalar`] as it was written.
pub(super) struct Written<T>(pub(super) T);

impl<'de, T: Scalar> Deserialize<'de> for Written<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor(PhantomData)).map(Self)
    }
}

struct ScalarVisitor<T>(PhantomData<T>);

impl<T: Scalar> Visitor<'_> for ScalarVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        T::from_text(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }

    fn visit_i64<E: Error>(self, integer: i64) -> Result<T, E> {
        self.visit_str(&integer.to_string())
    }

    fn visit_u64<E: Error>(self, integer: u64) -> Result<T, E> {
        self.visit_str(&integer.to_string())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<T, E> {
        self.visit_str(&value.to_string())
    }
}

/// `max_age`: a duration, or `"per_batch"`.
pub(super) enum AgeChoice {
    /// Read for each batch.
    PerBatch,
    /// This old at most.
    Max(Duration),
}

impl<'de> Deserialize<'de> for AgeChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor(PhantomData))
    }
}

impl Scalar for AgeChoice {
    const EXPECTED: &'static str = "a duration with its unit, such as \"1 s\", or \"per_batch\"";

    fn from_text(text: &str) -> Option<Self> {
        match text {
            "per_batch" => Some(Self::PerBatch),
            text => Duration::from_text(text).map(Self::Max),
        }
    }
}

/// Several names: a TOML array, or text such as `a,b` or `["a", "b"]`.
pub(super) struct List(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListVisitor).map(Self)
    }
}

struct ListVisitor;

impl<'de> Visitor<'de> for ListVisitor {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of names, such as [\"a\", \"b\"] or \"a,b\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        // An array of basic strings is written alike in TOML and in JSON; what only begins like one
        // is a name, `[::1]:9092`.
        let names = serde_json::from_str(text);
        Ok(names.unwrap_or_else(|_| text.split(',').map(|name| name.trim().to_owned()).collect()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut names = Vec::new();
        while let Some(name) = seq.next_element()? {
            names.push(name);
        }
        Ok(names)
    }
}

/// `dead_letter_budget`: a table, or `"off"`.
pub(super) enum BudgetChoice {
    /// The table.
    On(RawBudget),
    /// No budget.
    Off,
}

impl<'de> Deserialize<'de> for BudgetChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BudgetVisitor)
    }
}

struct BudgetVisitor;

impl<'de> Visitor<'de> for BudgetVisitor {
    type Value = BudgetChoice;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"off\" or a table with ratio, window and per_minute")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        match text {
            "off" => Ok(BudgetChoice::Off),
            _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        RawBudget::deserialize(MapAccessDeserializer::new(map)).map(BudgetChoice::On)
    }
}

/// The properties as written: name to text.
pub(super) type RawProperties = BTreeMap<String, Written<String>>;
