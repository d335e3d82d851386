//! What is read: types of all kinds, some of which notice how they are read.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::text::Text;

/// As a pipeline's event looks.
#[derive(Debug, serde::Deserialize)]
#[expect(dead_code, reason = "shown as a whole")]
pub(super) struct Ad<'a> {
    event_id: &'a str,
    kind: Kind,
    advertiser_id: i64,
    campaign_id: i64,
    #[serde(borrow)]
    user_id: Text<'a>,
    #[serde(borrow)]
    placement: Option<Text<'a>>,
    cost_micros: i64,
    occurred_at: String,
}

/// A word.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Click,
    Impression,
    View(u8),
}

/// All that lies within each other.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Deep {
    kind: Option<Kind>,
    items: Vec<Deep>,
    map: BTreeMap<String, Option<f64>>,
    numbers: BTreeMap<i8, Option<Box<Deep>>>,
    flag: bool,
    small: u8,
    ratio: f64,
    single: f32,
    pair: Option<(u16, String)>,
    wide: Option<Wide>,
    letter: Option<char>,
    unit: (),
    value: Value,
    other: Option<i128>,
}

/// A type around another.
#[derive(Debug, serde::Deserialize)]
#[expect(dead_code, reason = "shown as a whole")]
pub(super) struct Wide(u64);

/// No field but these.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "shown as a whole")]
pub(super) struct Strict {
    kind: Option<Kind>,
    flag: Option<bool>,
    ratio: Option<f64>,
    items: Option<Vec<u32>>,
}

/// Read by way of a copy of the whole.
#[derive(Debug, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[expect(dead_code, reason = "shown as a whole")]
pub(super) enum Tagged {
    Click { small: u8, value: Option<Value> },
    Impression(BTreeMap<String, Value>),
    View,
}

/// Tried one after the other.
#[derive(Debug, serde::Deserialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "shown as a whole")]
pub(super) enum Untagged {
    Whole(i32),
    Float(f64),
    Text(String),
    List(Vec<Untagged>),
    Object(BTreeMap<String, Untagged>),
    Other(Option<bool>),
}

/// Some fields by name and all others.
#[derive(Debug, serde::Deserialize)]
#[expect(dead_code, reason = "shown as a whole")]
pub(super) struct Flat {
    flag: Option<bool>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

/// Reads nothing of its value.
#[derive(Debug)]
pub(super) struct Nothing;

impl<'de> Deserialize<'de> for Nothing {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Ok(Self)
    }
}

/// Takes an error for a value; with what it says, or without.
#[derive(Debug)]
pub(super) struct Swallowed<T, const KEPT: bool>(Result<T, Option<String>>);

impl<'de, T: Deserialize<'de>, const KEPT: bool> Deserialize<'de> for Swallowed<T, KEPT> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self(T::deserialize(from).map_err(|error| KEPT.then(|| error.to_string()))))
    }
}

/// Each visit as it came, to a type that asks for what [`ASKED`](Seen) says: one of
/// [`WAYS`] ways.
#[derive(Debug)]
#[expect(dead_code, reason = "shown as a whole")]
pub(super) enum Seen<const ASKED: u8> {
    Bool(bool),
    I64(i64),
    I128(i128),
    U64(u64),
    F64(f64),
    Borrowed(String),
    Transient(String),
    Bytes(Vec<u8>),
    None,
    Some(Box<Seen<0>>),
    Unit,
    Newtype(Box<Seen<0>>),
    List(Option<usize>, Vec<Seen<ASKED>>),
    Object(Vec<(Seen<ASKED>, Seen<ASKED>)>),
}

impl<'de, const ASKED: u8> Deserialize<'de> for Seen<ASKED> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match ASKED {
            1 => from.deserialize_str(Look),
            2 => from.deserialize_i64(Look),
            3 => from.deserialize_u8(Look),
            4 => from.deserialize_f64(Look),
            5 => from.deserialize_f32(Look),
            6 => from.deserialize_bool(Look),
            7 => from.deserialize_option(Look),
            8 => from.deserialize_unit(Look),
            9 => from.deserialize_newtype_struct("Seen", Look),
            10 => from.deserialize_seq(Look),
            11 => from.deserialize_map(Look),
            12 => from.deserialize_struct("Seen", &["value"], Look),
            13 => from.deserialize_bytes(Look),
            14 => from.deserialize_i128(Look),
            15 => from.deserialize_char(Look),
            16 => from.deserialize_ignored_any(Look),
            17 => from.deserialize_tuple(2, Look),
            _ => from.deserialize_any(Look),
        }
    }
}

struct Look<const ASKED: u8>;

macro_rules! look {
    ($($visit:ident: $type:ty => $seen:expr),* $(,)?) => {$(
        fn $visit<E: Error>(self, value: $type) -> Result<Self::Value, E> {
            Ok($seen(value))
        }
    )*};
}

impl<'de, const ASKED: u8> Visitor<'de> for Look<ASKED> {
    type Value = Seen<ASKED>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    look! {
        visit_bool: bool => Seen::Bool,
        visit_i64: i64 => Seen::I64,
        visit_i128: i128 => Seen::I128,
        visit_u64: u64 => Seen::U64,
        visit_f64: f64 => Seen::F64,
        visit_str: &str => |text: &str| Seen::Transient(text.to_owned()),
        visit_borrowed_str: &'de str => |text: &str| Seen::Borrowed(text.to_owned()),
        visit_bytes: &[u8] => |bytes: &[u8]| Seen::Bytes(bytes.to_owned()),
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Seen::None)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Seen::Unit)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        Ok(Seen::Some(Box::new(Seen::deserialize(from)?)))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        Ok(Seen::Newtype(Box::new(Seen::deserialize(from)?)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let (hint, mut seen) = (list.size_hint(), Vec::new());
        while let Some(item) = list.next_element()? {
            seen.push(item);
        }
        Ok(Seen::List(hint, seen))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut seen = Vec::new();
        while let Some(field) = object.next_entry()? {
            seen.push(field);
        }
        Ok(Seen::Object(seen))
    }
}
