//! How much of each kind of record a feed of ads has, and the drawing of one.

/// The share of each kind of record, from 0 to 1; the rest are good ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdsShares {
    /// Repeats of a saved record, with other content: the first wins.
    pub duplicate: f64,
    /// Good records under the id of a rejected or refused one: judged on their own.
    pub corrected: f64,
    /// Records that cannot be read, in a dozen ways.
    pub malformed: f64,
    /// Records of an advertiser that is not there.
    pub unknown_advertiser: f64,
    /// Records of a campaign that is not there.
    pub unknown_campaign: f64,
    /// Records of a campaign that another advertiser has.
    pub foreign_campaign: f64,
    /// Records that the table's check refuses.
    pub negative_cost: f64,
    /// Records without a value.
    pub tombstone: f64,
}

impl AdsShares {
    /// Good records only.
    pub const NONE: Self = Self {
        duplicate: 0.0,
        corrected: 0.0,
        malformed: 0.0,
        unknown_advertiser: 0.0,
        unknown_campaign: 0.0,
        foreign_campaign: 0.0,
        negative_cost: 0.0,
        tombstone: 0.0,
    };

    /// A topic on a bad day: plenty of each kind, for tests.
    pub const ROUGH: Self = Self {
        duplicate: 0.05,
        corrected: 0.01,
        malformed: 0.03,
        unknown_advertiser: 0.01,
        unknown_campaign: 0.01,
        foreign_campaign: 0.01,
        negative_cost: 0.01,
        tombstone: 0.01,
    };
}

/// A topic as a demo shows it: some of each kind, few enough that a fast run does not use up the
/// dead-letter budget, and that the database seldom has to save a batch twice.
impl Default for AdsShares {
    fn default() -> Self {
        Self {
            duplicate: 0.02,
            corrected: 0.000_02,
            malformed: 0.000_05,
            unknown_advertiser: 0.000_02,
            unknown_campaign: 0.000_05,
            foreign_campaign: 0.000_02,
            negative_cost: 0.000_002,
            tombstone: 0.000_5,
        }
    }
}

/// What the next record is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Good,
    Duplicate,
    Corrected,
    Malformed,
    UnknownAdvertiser,
    UnknownCampaign,
    ForeignCampaign,
    NegativeCost,
    Tombstone,
}

/// The shares as borders on the line of all 32-bit numbers: most draws take one comparison.
#[derive(Clone, Debug)]
pub(super) struct Mix {
    borders: [(u64, Kind); 8],
}

impl Mix {
    pub(super) fn new(shares: &AdsShares) -> Self {
        let mut border = 0.0;
        let mut up_to = |share: f64, kind| {
            border += share.clamp(0.0, 1.0);
            ((border * 2.0_f64.powi(32)).round() as u64, kind)
        };
        Self {
            borders: [
                up_to(shares.duplicate, Kind::Duplicate),
                up_to(shares.corrected, Kind::Corrected),
                up_to(shares.malformed, Kind::Malformed),
                up_to(shares.unknown_advertiser, Kind::UnknownAdvertiser),
                up_to(shares.unknown_campaign, Kind::UnknownCampaign),
                up_to(shares.foreign_campaign, Kind::ForeignCampaign),
                up_to(shares.negative_cost, Kind::NegativeCost),
                up_to(shares.tombstone, Kind::Tombstone),
            ],
        }
    }

    /// The kind that an evenly drawn number stands for.
    pub(super) fn draw(&self, number: u32) -> Kind {
        let number = u64::from(number);
        if number >= self.borders[7].0 {
            return Kind::Good;
        }
        let found = self.borders.iter().find(|(border, _)| number < *border);
        found.map_or(Kind::Good, |(_, kind)| *kind)
    }
}
