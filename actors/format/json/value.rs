//! The value that comes next, read as what its type asks for: the same visits as serde_json's, in
//! the same order.

use serde::de::{Deserializer, Visitor};

use super::Reader;
use super::given_up::{GivenUp, give_up};
use super::nested::{List, Object, Word};

/// By this name serde_json asks itself for a value's own text.
const RAW_VALUE: &str = "$serde_json::private::RawValue";

/// Methods that read with another one.
macro_rules! read_as {
    ($($method:ident => $reader:ident),* $(,)?) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, GivenUp> {
            self.$reader(visitor)
        }
    )*};
}

/// Methods for what is not read here.
macro_rules! give_up_on {
    ($($method:ident)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, GivenUp> {
            Err(give_up())
        }
    )*};
}
pub(super) use {give_up_on, read_as};

/// Whether a newtype is one that serde_json reads in a way of its own.
#[inline]
pub(super) fn is_raw(name: &str) -> bool {
    name == RAW_VALUE
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = GivenUp;

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, GivenUp> {
        match self.peek() {
            b'"' => self.string(visitor),
            b'{' => self.object(visitor),
            b'[' => self.list(visitor),
            b'n' => self.null(visitor),
            b't' | b'f' => self.bool(visitor),
            // Floats, too, may look otherwise to whom serde_json is built for.
            _ => self.whole(visitor),
        }
    }

    read_as! {
        deserialize_bool => bool,
        deserialize_i8 => whole, deserialize_i16 => whole,
        deserialize_i32 => whole, deserialize_i64 => whole,
        deserialize_u8 => whole, deserialize_u16 => whole,
        deserialize_u32 => whole, deserialize_u64 => whole,
        // A decimal may be rounded once or twice.
        deserialize_f32 => whole,
        deserialize_f64 => decimal,
        deserialize_char => string, deserialize_str => string, deserialize_string => string,
        deserialize_identifier => string,
        deserialize_unit => null,
        deserialize_seq => list,
        deserialize_map => object,
    }

    give_up_on!(deserialize_i128 deserialize_u128 deserialize_bytes deserialize_byte_buf);

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, GivenUp> {
        if self.peek() != b'n' {
            return visitor.visit_some(self);
        }
        self.word(b"null")?;
        visitor.visit_none()
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, GivenUp> {
        self.null(visitor)
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
    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, GivenUp> {
        self.list(visitor)
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, GivenUp> {
        self.list(visitor)
    }

    /// One that is written as a list of its fields is left to serde_json.
    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, GivenUp> {
        self.object(visitor)
    }

    /// One with fields is left to serde_json.
    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, GivenUp> {
        if self.peek() != b'"' {
            return Err(give_up());
        }
        visitor.visit_enum(Word(self))
    }

    #[inline]
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, GivenUp> {
        self.skip()?;
        visitor.visit_unit()
    }
}

impl<'de> Reader<'de> {
    #[inline]
    fn bool<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, GivenUp> {
        let is_true = self.peek() == b't';
        match is_true {
            true => self.word(b"true"),
            false => self.word(b"false"),
        }?;
        visitor.visit_bool(is_true)
    }

    #[inline]
    fn null<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, GivenUp> {
        self.peek();
        self.word(b"null")?;
        visitor.visit_unit()
    }

    #[inline]
    fn list<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, GivenUp> {
        self.enter(b'[')?;
        let list = visitor.visit_seq(List::new(self)).map_err(GivenUp::in_doubt)?;
        self.leave(b']')?;
        Ok(list)
    }

    #[inline]
    fn object<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, GivenUp> {
        self.enter(b'{')?;
        let object = visitor.visit_map(Object::new(self)).map_err(GivenUp::in_doubt)?;
        self.leave(b'}')?;
        Ok(object)
    }
}
