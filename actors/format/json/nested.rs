//! What lies within lists and objects, and the words of enums.

use std::mem;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::Reader;
use super::given_up::{GivenUp, give_up};
use super::value::{give_up_on, is_raw, read_as};

/// The items of a list whose bracket is passed.
pub(super) struct List<'r, 'de> {
    reader: &'r mut Reader<'de>,
    is_first: bool,
}

impl<'r, 'de> List<'r, 'de> {
    #[inline]
    pub(super) fn new(reader: &'r mut Reader<'de>) -> Self {
        Self { reader, is_first: true }
    }
}

impl<'de> SeqAccess<'de> for List<'_, 'de> {
    type Error = GivenUp;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, GivenUp> {
        if self.reader.peek() == b']' {
            return Ok(None);
        }
        if !mem::take(&mut self.is_first) {
            self.reader.expect(b',')?;
            // A type that reads nothing would not notice.
            if self.reader.peek() == b']' {
                return Err(give_up());
            }
        }
        seed.deserialize(&mut *self.reader).map(Some)
    }
}

/// The fields of an object whose brace is passed.
pub(super) struct Object<'r, 'de> {
    reader: &'r mut Reader<'de>,
    is_first: bool,
}

impl<'r, 'de> Object<'r, 'de> {
    #[inline]
    pub(super) fn new(reader: &'r mut Reader<'de>) -> Self {
        Self { reader, is_first: true }
    }

    /// Passes what is before a field's name, and its first quote, unless the object ends.
    #[inline(never)]
    fn is_at_end(&mut self) -> Result<bool, GivenUp> {
        if self.reader.peek() == b'}' {
            return Ok(true);
        }
        if !mem::take(&mut self.is_first) {
            self.reader.expect(b',')?;
        }
        self.reader.expect(b'"')?;
        Ok(false)
    }
}

impl<'de> MapAccess<'de> for Object<'_, 'de> {
    type Error = GivenUp;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, GivenUp> {
        // Without blanks, as nearly all.
        if self.reader.is_next(b",\"") && !self.is_first {
            self.reader.at += 2;
        } else if self.is_at_end()? {
            return Ok(None);
        }
        seed.deserialize(Key(self.reader)).map(Some)
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, GivenUp> {
        self.reader.expect(b':')?;
        seed.deserialize(&mut *self.reader)
    }
}

/// A field's name, whose first quote is passed.
struct Key<'r, 'de>(&'r mut Reader<'de>);

impl<'de> Key<'_, 'de> {
    #[inline]
    fn string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, GivenUp> {
        self.0.string_behind_quote(visitor)
    }

    /// A number within quotes, without blanks.
    fn whole<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, GivenUp> {
        if !matches!(self.0.byte(), b'-' | b'0'..=b'9') {
            return Err(give_up());
        }
        let value = self.0.whole(visitor)?;
        if self.0.byte() != b'"' {
            return Err(give_up());
        }
        self.0.at += 1;
        Ok(value)
    }
}

impl<'de> Deserializer<'de> for Key<'_, 'de> {
    type Error = GivenUp;

    read_as! {
        deserialize_any => string,
        deserialize_i8 => whole, deserialize_i16 => whole,
        deserialize_i32 => whole, deserialize_i64 => whole,
        deserialize_u8 => whole, deserialize_u16 => whole,
        deserialize_u32 => whole, deserialize_u64 => whole,
    }

    give_up_on! {
        deserialize_bool deserialize_f32 deserialize_f64 deserialize_i128 deserialize_u128
        deserialize_bytes deserialize_byte_buf
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, GivenUp> {
        visitor.visit_some(self)
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, GivenUp> {
        if is_raw(name) {
            return Err(give_up());
        }
        visitor.visit_newtype_struct(self)
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, GivenUp> {
        // Whoever reads a word reads the quote, too.
        self.0.at -= 1;
        visitor.visit_enum(Word(self.0))
    }

    forward_to_deserialize_any! {
        char str string unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// The word of an enum, which comes next.
pub(super) struct Word<'r, 'de>(pub(super) &'r mut Reader<'de>);

impl<'de> EnumAccess<'de> for Word<'_, 'de> {
    type Error = GivenUp;
    type Variant = Alone;

    #[inline]
    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Alone), GivenUp> {
        Ok((seed.deserialize(self.0)?, Alone))
    }
}

/// Behind a word there is nothing.
pub(super) struct Alone;

impl<'de> VariantAccess<'de> for Alone {
    type Error = GivenUp;

    #[inline]
    fn unit_variant(self) -> Result<(), GivenUp> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, _: S) -> Result<S::Value, GivenUp> {
        Err(give_up())
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, GivenUp> {
        Err(give_up())
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, GivenUp> {
        Err(give_up())
    }
}
