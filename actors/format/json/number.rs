//! Numbers: whole ones, and short decimals where a float is asked for.

use serde::de::Visitor;

use super::Reader;
use super::given_up::{GivenUp, give_up};
use super::words::{ONES, word};

/// As many digits always fit.
const DIGITS_MAX: usize = 19;

/// As many digits are a float without loss, and so is the power of ten that it is divided by: the
/// quotient is the nearest float, as any reader gives it.
const DECIMAL_DIGITS_MAX: usize = 15;

/// What a decimal of so many places is divided by.
const POWERS_OF_TEN: [f64; DECIMAL_DIGITS_MAX] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14];

impl<'de> Reader<'de> {
    /// Reads a whole number, which must come next behind blanks.
    #[inline]
    pub(super) fn whole<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, GivenUp> {
        let is_negative = self.sign();
        let number = self.digits()?;
        self.visit_whole(number, is_negative, visitor)
    }

    #[inline]
    fn visit_whole<V: Visitor<'de>>(
        &self,
        number: u64,
        is_negative: bool,
        visitor: V,
    ) -> Result<V::Value, GivenUp> {
        match self.byte() {
            b'.' | b'e' | b'E' => Err(give_up()),
            _ if is_negative => visitor.visit_i64(negative(number)?),
            _ => visitor.visit_u64(number),
        }
    }

    /// Reads a number for a float, which must come next behind blanks.
    #[inline]
    pub(super) fn decimal<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, GivenUp> {
        let is_negative = self.sign();
        let number = self.digits()?;
        if self.byte() != b'.' {
            return self.visit_whole(number, is_negative, visitor);
        }
        let number = self.places(number)?;
        visitor.visit_f64(if is_negative { -number } else { number })
    }

    #[inline]
    fn sign(&mut self) -> bool {
        let is_negative = self.peek() == b'-';
        self.at += usize::from(is_negative);
        is_negative
    }

    /// The number of the digits that come next, at least one, with no zero before others.
    #[inline]
    fn digits(&mut self) -> Result<u64, GivenUp> {
        let digits = word(self.text.as_bytes(), self.at) ^ (ONES * 0x30);
        // Has the highest bit of the first byte set that is no digit.
        let end = (digits.wrapping_add(ONES * 0x76) | digits) & (ONES << 7);
        let bits = end.trailing_zeros() & 0x78;
        match bits {
            0 => return Err(give_up()),
            64 => return self.many_digits(),
            16.. if digits as u8 == 0 => return Err(give_up()),
            _ => {}
        }
        self.at += bits as usize / 8;
        Ok(of_eight(digits << (64 - bits)))
    }

    #[inline(never)]
    fn many_digits(&mut self) -> Result<u64, GivenUp> {
        let (number, len) = number(self.rest());
        if len > DIGITS_MAX || self.byte() == b'0' {
            return Err(give_up());
        }
        self.at += len;
        Ok(number)
    }

    /// Reads the places behind the point that comes next.
    fn places(&mut self, whole: u64) -> Result<f64, GivenUp> {
        self.at += 1;
        let (places, len) = number(self.rest());
        self.at += len;
        let (Some(power), false) = (POWERS_OF_TEN.get(len), len == 0) else {
            return Err(give_up());
        };
        // Within 2 to the power of 53, as the power is: neither is rounded.
        let number = whole.checked_mul(*power as u64).and_then(|whole| whole.checked_add(places));
        let is_short = |number: &u64| *number < 10_u64.pow(DECIMAL_DIGITS_MAX as u32);
        let number = number.filter(is_short).ok_or_else(give_up)?;
        match self.byte() {
            b'e' | b'E' => Err(give_up()),
            _ => Ok(number as f64 / power),
        }
    }
}

/// The number of the digits at the head, right as long as there are not too many, and how many.
#[inline]
fn number(bytes: &[u8]) -> (u64, usize) {
    let mut number = 0_u64;
    for (len, byte) in bytes.iter().enumerate() {
        if !byte.is_ascii_digit() {
            return (number, len);
        }
        number = number.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
    }
    (number, bytes.len())
}

/// The number of eight digits, the first one in the lowest byte.
#[inline]
fn of_eight(digits: u64) -> u64 {
    let pairs = digits.wrapping_mul(10 << 8 | 1) >> 8 & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100 << 16 | 1) >> 16 & 0x0000_ffff_0000_ffff;
    fours.wrapping_mul(10_000 << 32 | 1) >> 32
}

/// A negative zero is a float, and so is what does not fit.
#[inline]
fn negative(number: u64) -> Result<i64, GivenUp> {
    match i64::try_from(number) {
        Ok(number) if number > 0 => Ok(-number),
        _ => Err(give_up()),
    }
}
