//! Passes values that nobody asks for, which must be right all the same.

use super::Reader;
use super::given_up::{GivenUp, give_up};

impl Reader<'_> {
    /// Passes the value that comes next behind blanks.
    pub(super) fn skip(&mut self) -> Result<(), GivenUp> {
        match self.peek() {
            b'"' => self.skip_string(),
            b'{' => self.skip_all(b'{', |reader| {
                reader.skip_string()?;
                reader.expect(b':')?;
                reader.skip()
            }),
            b'[' => self.skip_all(b'[', Self::skip),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            b'-' | b'0'..=b'9' => self.skip_number(),
            _ => Err(give_up()),
        }
    }

    /// Passes a list or object, each item by `item`.
    fn skip_all(
        &mut self,
        open: u8,
        item: impl Fn(&mut Self) -> Result<(), GivenUp>,
    ) -> Result<(), GivenUp> {
        // So it is for both kinds of brackets.
        let close = open + 2;
        self.enter(open)?;
        if self.peek() != close {
            item(self)?;
            while self.peek() == b',' {
                self.at += 1;
                item(self)?;
            }
        }
        self.leave(close)
    }

    fn skip_number(&mut self) -> Result<(), GivenUp> {
        self.at += usize::from(self.byte() == b'-');
        let has_zero = self.byte() == b'0';
        if self.skip_digits()? > 1 && has_zero {
            return Err(give_up());
        }
        if self.byte() == b'.' {
            self.at += 1;
            self.skip_digits()?;
        }
        if matches!(self.byte(), b'e' | b'E') {
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), b'+' | b'-'));
            self.skip_digits()?;
        }
        Ok(())
    }

    /// Passes digits, at least one, and says how many.
    fn skip_digits(&mut self) -> Result<usize, GivenUp> {
        let len = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += len;
        if len == 0 { Err(give_up()) } else { Ok(len) }
    }
}
