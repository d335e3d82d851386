//! Reads JSON as serde_json does, as long as nothing is unusual about it.
//!
//! # Why
//! JSON was the largest part of what a record costs us. With this reader an event of 215 bytes is
//! decoded by 4,820 instructions instead of 6,240 (docs/instructions.md), most of which are for
//! UTF-8 and the values' own types; and nothing is allocated. It does less than serde_json: it
//! knows neither positions nor floats beyond short decimals, and does not say what is wrong. What
//! it does not read ([`GivenUp`]) is read again by serde_json, whose answer counts. So it may read
//! only what serde_json reads, as the same value, by the same visits.

mod given_up;
mod nested;
mod number;
mod skip;
mod string;
#[cfg(test)]
mod tests;
mod value;
mod words;

use serde::de::Deserialize;

use self::given_up::{GivenUp, doubts, give_up};

/// How deep lists and objects may lie within each other: less than serde_json takes, and no danger
/// to the stack.
const DEPTH_MAX: u32 = 64;

/// Reads `text` as `E`. `None`: it is wrong, or not for this reader.
pub(super) fn read<'de, E: Deserialize<'de>>(text: &'de str) -> Option<E> {
    let before = doubts();
    let mut reader = Reader { text, at: 0, depth: 0 };
    let value = E::deserialize(&mut reader).ok()?;
    // A type may have got over an error by itself, in a way that serde_json's errors would not have
    // led to.
    (reader.is_at_end() && doubts() == before).then_some(value)
}

/// Where it is in the text. Its reference is a deserializer for the value that comes next.
struct Reader<'de> {
    text: &'de str,
    at: usize,
    depth: u32,
}

impl<'de> Reader<'de> {
    /// The byte that comes next; 0 at the end, with which nothing in JSON begins.
    #[inline]
    fn byte(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    /// The bytes that come next.
    #[inline]
    fn rest(&self) -> &'de [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    #[inline]
    fn is_next<const LEN: usize>(&self, bytes: &[u8; LEN]) -> bool {
        self.rest().first_chunk() == Some(bytes)
    }

    /// The byte that comes next behind blanks, which are passed.
    #[inline]
    fn peek(&mut self) -> u8 {
        match self.byte() {
            byte if byte > b' ' => byte,
            _ => self.peek_behind_blanks(),
        }
    }

    #[inline(never)]
    fn peek_behind_blanks(&mut self) -> u8 {
        while matches!(self.byte(), b' ' | b'\n' | b'\t' | b'\r') {
            self.at += 1;
        }
        self.byte()
    }

    fn is_at_end(&mut self) -> bool {
        self.peek();
        self.at == self.text.len()
    }

    /// Passes `byte`, which must come next behind blanks.
    #[inline]
    fn expect(&mut self, byte: u8) -> Result<(), GivenUp> {
        if self.byte() != byte && self.peek_behind_blanks() != byte {
            return Err(give_up());
        }
        self.at += 1;
        Ok(())
    }

    /// Passes `word`, which must come next.
    #[inline]
    fn word<const LEN: usize>(&mut self, word: &[u8; LEN]) -> Result<(), GivenUp> {
        if !self.is_next(word) {
            return Err(give_up());
        }
        self.at += LEN;
        Ok(())
    }

    /// Passes `open`, which must come next, into a list or object.
    #[inline]
    fn enter(&mut self, open: u8) -> Result<(), GivenUp> {
        self.expect(open)?;
        if self.depth == DEPTH_MAX {
            return Err(give_up());
        }
        self.depth += 1;
        Ok(())
    }

    /// Passes `close`, which must come next, out of a list or object.
    #[inline]
    fn leave(&mut self, close: u8) -> Result<(), GivenUp> {
        self.expect(close)?;
        self.depth -= 1;
        Ok(())
    }
}
