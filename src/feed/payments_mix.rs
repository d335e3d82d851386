//! How much of each kind of record a feed of payments has, and the drawing of one.

use rand::Rng;
use rand::rngs::StdRng;

/// The share of each kind of record, from 0 to 1; the rest are good ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PaymentsShares {
    /// Copies of an earlier record of the partition, judged as that one's fate has it.
    pub duplicate: f64,
    /// Payments that an account has not enough for.
    pub overdrawn: f64,
    /// Payments of an account that is not there.
    pub unknown_account: f64,
    /// Records that cannot be read, in several ways.
    pub malformed: f64,
    /// Payments in another currency than the account's.
    pub other_currency: f64,
    /// Records without a value.
    pub tombstone: f64,
}

impl PaymentsShares {
    /// Good records only.
    pub const NONE: Self = Self {
        duplicate: 0.0,
        overdrawn: 0.0,
        unknown_account: 0.0,
        malformed: 0.0,
        other_currency: 0.0,
        tombstone: 0.0,
    };

    /// A topic on a bad day, for tests.
    pub const ROUGH: Self = Self {
        duplicate: 0.05,
        overdrawn: 0.01,
        unknown_account: 0.002,
        malformed: 0.002,
        other_currency: 0.001,
        tombstone: 0.001,
    };
}

/// A topic as a demo shows it: few enough bad ones that a fast run does not use up the dead-letter
/// budget.
impl Default for PaymentsShares {
    fn default() -> Self {
        Self {
            duplicate: 0.02,
            overdrawn: 0.000_1,
            unknown_account: 0.000_02,
            malformed: 0.000_02,
            other_currency: 0.000_02,
            tombstone: 0.000_2,
        }
    }
}

/// What a record is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Good,
    Duplicate,
    Overdrawn,
    UnknownAccount,
    Malformed,
    OtherCurrency,
    Tombstone,
}

impl PaymentsShares {
    /// Draws what the next record is to be.
    pub(super) fn draw(&self, rng: &mut StdRng) -> Kind {
        let mut left = rng.random::<f64>();
        let kinds = [
            (self.duplicate, Kind::Duplicate),
            (self.overdrawn, Kind::Overdrawn),
            (self.unknown_account, Kind::UnknownAccount),
            (self.malformed, Kind::Malformed),
            (self.other_currency, Kind::OtherCurrency),
            (self.tombstone, Kind::Tombstone),
        ];
        let drawn = kinds.into_iter().find(|(share, _)| {
            left -= share;
            left < 0.0
        });
        drawn.map_or(Kind::Good, |(_, kind)| kind)
    }
}
