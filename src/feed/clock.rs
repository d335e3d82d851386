//! The clock of a feed: the same times from the same seed.

use std::io::Write as _;

use chrono::{DateTime, SecondsFormat};

/// The seconds since 1970 at which the first event happens: the start of 2026.
const FIRST_SECOND: i64 = 1_767_225_600;

/// When events happen. The text of a second is kept, because most events share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Clock {
    micros: u64,
    second: Option<i64>,
    text: String,
}

impl Clock {
    pub(super) fn advance(&mut self, micros: u64) {
        self.micros += micros;
    }

    pub(super) fn write(&mut self, out: &mut Vec<u8>) {
        let second = FIRST_SECOND + (self.micros / 1_000_000) as i64;
        if self.second != Some(second) {
            let time = DateTime::from_timestamp(second, 0).unwrap_or_default();
            self.text = time.to_rfc3339_opts(SecondsFormat::Secs, true);
            self.text.pop(); // The Z, which comes after the fraction.
            self.second = Some(second);
        }
        out.extend_from_slice(self.text.as_bytes());
        let _ = write!(out, ".{:06}Z", self.micros % 1_000_000);
    }
}
