//! How the value of one field is written: plain ones by hand, since most of what a row costs is
//! here; all others by [`ToSql`].
//!
//! # How one is told from the other
//! A macro knows a field's type by its name only, and Rust lets no implementation stand before
//! another one. But a method is looked for by value before it is looked for by reference:
//! `(&Value(&field)).put(..)` is [`PutPlain`]'s if there is one, else [`PutAny`]'s.

use std::borrow::Cow;
use std::ops::Range;

use bytes::{BufMut, BytesMut};
use chrono::{DateTime, Utc};
use longshore_actors::error::EncodeError;
use tokio_postgres::types::{IsNull, ToSql};
use uuid::Uuid;

use super::row::WireType;

/// Microseconds from 1970, where Unix begins to count, to 2000, where PostgreSQL does.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// What a value of a null is preceded by instead of its length.
const NULL: i32 = -1;

/// One field's value.
#[doc(hidden)]
pub struct Value<'v, V>(pub &'v V);

/// See the module.
#[doc(hidden)]
pub trait PutPlain {
    /// Appends the value: its length, -1 for null, and its bytes. Gives their place.
    ///
    /// # Errors
    /// A value that the column `column` cannot hold.
    fn put(
        &self,
        row: &mut BytesMut,
        wire: &WireType,
        column: &'static str,
    ) -> Result<Range<usize>, EncodeError>;
}

/// See the module.
#[doc(hidden)]
pub trait PutAny {
    /// See [`PutPlain::put`].
    ///
    /// # Errors
    /// A value that the column `column` cannot hold.
    fn put(
        &self,
        row: &mut BytesMut,
        wire: &WireType,
        column: &'static str,
    ) -> Result<Range<usize>, EncodeError>;
}

impl<V: Plain> PutPlain for Value<'_, V> {
    #[inline]
    fn put(
        &self,
        row: &mut BytesMut,
        _: &WireType,
        column: &'static str,
    ) -> Result<Range<usize>, EncodeError> {
        let start = row.len() + 4;
        match self.0.put(row) {
            Ok(()) => Ok(start..row.len()),
            Err(problem) => Err(refused(column, problem)),
        }
    }
}

impl<V: ToSql> PutAny for &Value<'_, V> {
    fn put(
        &self,
        row: &mut BytesMut,
        wire: &WireType,
        column: &'static str,
    ) -> Result<Range<usize>, EncodeError> {
        let start = row.len();
        row.put_i32(NULL);
        let null = self.0.to_sql(wire.of(), row);
        let null = null.map_err(|error| refused(column, &error.to_string()))?;
        let place = start + 4..row.len();
        if let IsNull::Yes = null {
            return Ok(place);
        }
        if wire.is_text() && has_nul(&row[place.clone()]) {
            return Err(refused(column, NUL));
        }
        let length = i32::try_from(place.len()).map_err(|_| refused(column, TOO_LARGE))?;
        row[start..start + 4].copy_from_slice(&length.to_be_bytes());
        Ok(place)
    }
}

const NUL: &str = "a NUL character, which PostgreSQL's text cannot hold";
const TOO_LARGE: &str = "larger than 2 GiB";

#[cold]
fn refused(column: &'static str, problem: &str) -> EncodeError {
    EncodeError::Value { column, problem: problem.to_owned() }
}

/// Most texts are short: eight bytes at a time, they take less than the call of a search.
#[inline]
fn has_nul(text: &[u8]) -> bool {
    const SHORT: usize = 64;
    const LOW: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    if text.len() > SHORT {
        return memchr::memchr(0, text).is_some();
    }
    let (words, rest) = text.as_chunks();
    let borrows = words.iter().fold(0, |borrows, word| {
        let word = u64::from_ne_bytes(*word);
        // A byte borrows from its high bit if it is zero, or behind a zero.
        borrows | (word.wrapping_sub(LOW) & !word & HIGH)
    });
    borrows != 0 || rest.contains(&0)
}

/// A type whose form on the wire is the same for every column that it fits.
#[doc(hidden)]
pub trait Plain {
    /// Appends the length and the bytes; what is wrong with the value otherwise.
    ///
    /// # Errors
    /// A value that no column can hold.
    fn put(&self, row: &mut BytesMut) -> Result<(), &'static str>;
}

impl<V: Plain> Plain for Option<V> {
    #[inline]
    fn put(&self, row: &mut BytesMut) -> Result<(), &'static str> {
        match self {
            Some(value) => value.put(row),
            None => {
                row.put_i32(NULL);
                Ok(())
            }
        }
    }
}

/// Numbers, in the order of the network.
macro_rules! plain_numbers {
    ($($type:ty),*) => {$(
        impl Plain for $type {
            #[inline]
            fn put(&self, row: &mut BytesMut) -> Result<(), &'static str> {
                put_fixed::<{ size_of::<$type>() }, { size_of::<$type>() + 4 }>(
                    row,
                    self.to_be_bytes(),
                )
            }
        }
    )*};
}
plain_numbers! { i16, i32, i64, f32, f64 }

/// Length and value in one piece.
#[inline]
fn put_fixed<const N: usize, const ALL: usize>(
    row: &mut BytesMut,
    value: [u8; N],
) -> Result<(), &'static str> {
    let mut all = [0; ALL];
    all[..4].copy_from_slice(&(N as u32).to_be_bytes());
    all[4..].copy_from_slice(&value);
    row.extend_from_slice(&all);
    Ok(())
}

impl Plain for bool {
    #[inline]
    fn put(&self, row: &mut BytesMut) -> Result<(), &'static str> {
        put_fixed::<1, 5>(row, [u8::from(*self)])
    }
}

impl Plain for Uuid {
    #[inline]
    fn put(&self, row: &mut BytesMut) -> Result<(), &'static str> {
        put_fixed::<16, 20>(row, *self.as_bytes())
    }
}

impl Plain for DateTime<Utc> {
    #[inline]
    fn put(&self, row: &mut BytesMut) -> Result<(), &'static str> {
        (self.timestamp_micros() - EPOCH_MICROS).put(row)
    }
}

impl Plain for [u8] {
    #[inline]
    fn put(&self, row: &mut BytesMut) -> Result<(), &'static str> {
        row.put_i32(i32::try_from(self.len()).map_err(|_| TOO_LARGE)?);
        row.extend_from_slice(self);
        Ok(())
    }
}

impl Plain for str {
    #[inline]
    fn put(&self, row: &mut BytesMut) -> Result<(), &'static str> {
        if has_nul(self.as_bytes()) {
            return Err(NUL);
        }
        self.as_bytes().put(row)
    }
}

/// What lends a text or bytes.
macro_rules! plain_lenders {
    ($($type:ty),*) => {$(
        impl Plain for $type {
            #[inline]
            fn put(&self, row: &mut BytesMut) -> Result<(), &'static str> {
                (**self).put(row)
            }
        }
    )*};
}
plain_lenders! { &str, String, Cow<'_, str>, &[u8], Vec<u8> }

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;
    use tokio_postgres::types::Type;

    use super::*;

    /// Both ways must write the same.
    fn same<V: Plain + ToSql>(value: &V, of: fn() -> Type) {
        let (mut plain, mut any) = (BytesMut::new(), BytesMut::new());
        let wire = WireType::found_by(of);
        PutPlain::put(&Value(value), &mut plain, &wire, "c").expect("it fits");
        PutAny::put(&&Value(value), &mut any, &wire, "c").expect("it fits");
        assert_eq!(plain, any, "{:?}", wire.of());
    }

    #[test]
    fn what_is_written_by_hand_is_what_to_sql_writes() {
        same(&-7_i16, || Type::INT2);
        same(&i32::MIN, || Type::INT4);
        same(&i64::MAX, || Type::INT8);
        same(&Some(1.5_f32), || Type::FLOAT4);
        same(&-0.0_f64, || Type::FLOAT8);
        same(&true, || Type::BOOL);
        same(&Uuid::from_u128(7 << 100), || Type::UUID);
        same(&"stra\u{df}e", || Type::TEXT);
        same(&String::new(), || Type::VARCHAR);
        same(&Cow::Borrowed("c"), || Type::BPCHAR);
        same(&vec![0_u8, 255], || Type::BYTEA);
        same(&None::<i64>, || Type::INT8);
        for (year, micros) in [(-4000, 1), (1969, 999_999), (1999, 0), (2026, 123_456)] {
            let day = NaiveDate::from_ymd_opt(year, 12, 31).expect("a day");
            let time = day.and_hms_micro_opt(23, 59, 59, micros).expect("a time");
            same(&time.and_utc(), || Type::TIMESTAMPTZ);
        }
    }

    #[test]
    fn a_nul_is_found_wherever_it_is() {
        for length in 0..80 {
            let mut text = vec![1_u8; length];
            (1..length).step_by(3).for_each(|at| text[at] = 0x80 | (at % 2) as u8);
            assert!(!has_nul(&text), "{length}");
            for at in 0..length {
                let before = std::mem::replace(&mut text[at], 0);
                assert!(has_nul(&text), "{at} of {length}");
                text[at] = before;
            }
        }
    }

    #[test]
    fn what_a_column_cannot_hold_is_named() {
        let (mut row, wire) = (BytesMut::new(), WireType::found_by(|| Type::TEXT));
        let plain = PutPlain::put(&Value(&"a\0b"), &mut row, &wire, "note");
        assert!(plain.is_err_and(|error| error.to_string().contains("column note: a NUL")));
        let any = PutAny::put(&&Value(&"a\0b"), &mut row, &wire, "note");
        assert!(any.is_err_and(|error| error.to_string().contains("column note: a NUL")));
    }

    #[test]
    fn a_plain_value_is_written_by_hand_and_another_one_by_to_sql() {
        let wire = WireType::found_by(|| Type::JSONB);
        let mut row = BytesMut::new();
        let json = serde_json::json!({"a": 1});
        let place = (&Value(&json)).put(&mut row, &wire, "c").expect("it fits");
        // The version of the form that jsonb is sent in.
        assert_eq!(&row[place], b"\x01{\"a\":1}");
        row.clear();
        let place = Value(&"a").put(&mut row, &wire, "c").expect("it fits");
        assert_eq!(&row[place], b"a", "by hand, since ToSql would write a version");
    }
}
