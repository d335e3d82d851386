//! Strings: borrowed as they are, or unescaped into a buffer that the thread keeps.

use std::cell::Cell;

use serde::de::Visitor;

use super::Reader;
use super::given_up::{GivenUp, give_up};
use super::words::plain_len;

/// A buffer that has become larger is let go.
const KEPT_MAX: usize = 16 << 10;

thread_local! {
    /// Where strings with escapes are put together.
    static UNESCAPED: Cell<String> = const { Cell::new(String::new()) };
}

impl<'de> Reader<'de> {
    /// Reads a string, which must come next behind blanks.
    #[inline]
    pub(super) fn string<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, GivenUp> {
        self.expect(b'"')?;
        self.string_behind_quote(visitor)
    }

    /// Reads a string whose first quote is passed.
    #[inline]
    pub(super) fn string_behind_quote<V: Visitor<'de>>(
        &mut self,
        visitor: V,
    ) -> Result<V::Value, GivenUp> {
        match self.plain() {
            Some(text) => visitor.visit_borrowed_str(text),
            None => self.unescaped(visitor),
        }
    }

    /// What is left of a string that has no escape, and the quote behind it. `None`: it has one, or
    /// is wrong; nothing is passed.
    #[inline]
    fn plain(&mut self) -> Option<&'de str> {
        let end = self.at + plain_len(self.rest());
        if self.text.as_bytes().get(end) != Some(&b'"') {
            return None;
        }
        let text = self.text.get(self.at..end)?;
        self.at = end + 1;
        Some(text)
    }

    /// Passes what comes before the next quote, backslash or control character.
    fn plain_part(&mut self) -> &'de str {
        let start = self.at;
        self.at += plain_len(self.rest());
        self.text.get(start..self.at).unwrap_or_default()
    }

    #[cold]
    fn unescaped<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, GivenUp> {
        let mut text = UNESCAPED.take();
        text.clear();
        let read = self.unescape(&mut text).and_then(|()| visitor.visit_str(&text));
        if text.capacity() <= KEPT_MAX {
            UNESCAPED.set(text);
        }
        read
    }

    /// Puts what is left of a string into `text`.
    fn unescape(&mut self, text: &mut String) -> Result<(), GivenUp> {
        loop {
            text.push_str(self.plain_part());
            let byte = self.byte();
            self.at += 1;
            match byte {
                b'"' => return Ok(()),
                b'\\' => text.push(self.escape()?),
                _ => return Err(give_up()),
            }
        }
    }

    /// What an escape stands for, behind its backslash.
    fn escape(&mut self) -> Result<char, GivenUp> {
        let byte = self.byte();
        self.at += 1;
        Ok(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\x08',
            b'f' => '\x0c',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.escaped_utf16(),
            _ => return Err(give_up()),
        })
    }

    /// Half of a pair by itself is not read.
    fn escaped_utf16(&mut self) -> Result<char, GivenUp> {
        let mut units = [self.hex4()?, 0];
        let mut len = 1;
        if matches!(units[0], 0xD800..=0xDBFF) && self.rest().starts_with(b"\\u") {
            self.at += 2;
            units[1] = self.hex4()?;
            len = 2;
        }
        match char::decode_utf16(units.into_iter().take(len)).next() {
            Some(Ok(letter)) => Ok(letter),
            _ => Err(give_up()),
        }
    }

    fn hex4(&mut self) -> Result<u16, GivenUp> {
        let digits = self.rest().first_chunk::<4>().ok_or_else(give_up)?;
        self.at += 4;
        digits.iter().try_fold(0, |number, digit| {
            let digit = char::from(*digit).to_digit(16).ok_or_else(give_up)?;
            Ok(number << 4 | digit as u16)
        })
    }

    /// Passes a string, which must come next behind blanks. Like serde_json, it does not look at
    /// halves of pairs.
    pub(super) fn skip_string(&mut self) -> Result<(), GivenUp> {
        self.expect(b'"')?;
        loop {
            self.plain_part();
            let byte = self.byte();
            self.at += 1;
            match (byte, self.byte()) {
                (b'"', _) => return Ok(()),
                (b'\\', b'u') => {
                    self.at += 1;
                    self.hex4()?;
                }
                (b'\\', _) => {
                    self.escape()?;
                }
                _ => return Err(give_up()),
            }
        }
    }
}
