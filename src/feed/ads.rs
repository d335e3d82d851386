//! The feed of ads: clicks and impressions by the contract of the `ads` pipeline.
//!
//! # Why
//! Values are written by hand, not by serde: a feed that shares the machine with what it feeds
//! should cost next to nothing.

use std::io::Write as _;

use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use uuid::{Builder, Uuid};

use super::clock::Clock;
use super::mix::{AdsShares, Kind, Mix};
use super::reference::{AdsReference, Campaign};
use super::remembered::Remembered;
use super::{Expected, Feed, FeedRecord, spoil};

/// How long after one event the next one happens, at most, in microseconds.
const STEP_MICROS_MAX: u64 = 200;

/// What a user has seen the ad on; a record may also have null or nothing there.
const PLACEMENTS: [&str; 6] = [
    "\"placement\":\"top\",",
    "\"placement\":\"sidebar\",",
    "\"placement\":\"feed\",",
    "\"placement\":\"caf\u{e9} \\\"terrace\\\"\",",
    "\"placement\":null,",
    "",
];

/// How a feed of ads looks.
#[derive(Clone, Debug, PartialEq)]
pub struct AdsOptions {
    /// How many partitions the records go to.
    pub partitions: i32,
    /// How much of each kind of record there is.
    pub shares: AdsShares,
    /// How many advertisers there are; at least two.
    pub advertisers: usize,
    /// How many campaigns each advertiser has.
    pub campaigns_each: usize,
    /// How many users click.
    pub users: u32,
    /// The seed of advertisers and campaigns, if not that of the records: feeds whose rows go to
    /// one database must agree about them.
    pub reference_seed: Option<u64>,
}

impl Default for AdsOptions {
    fn default() -> Self {
        Self {
            partitions: 8,
            shares: AdsShares::default(),
            advertisers: 200,
            campaigns_each: 5,
            users: 100_000,
            reference_seed: None,
        }
    }
}

/// What the saved rows must add up to: that the *first* of several repeats won shows here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdsSums {
    /// The sum of `cost_micros`.
    pub cost_micros: i64,
    /// The rows that are `billable`.
    pub billable: u64,
}

/// Makes clicks and impressions, the same ones from the same seed and options.
#[derive(Clone, Debug)]
pub struct AdsFeed {
    rng: StdRng,
    mix: Mix,
    options: AdsOptions,
    reference: AdsReference,
    clock: Clock,
    saved: Remembered<Identity>,
    parked: Remembered<Identity>,
    sums: AdsSums,
}

/// A record's own part of the truth; the rest is drawn when it is written.
#[derive(Clone, Copy, Debug)]
struct Identity {
    event_id: Uuid,
    user: u32,
}

impl AdsFeed {
    /// A feed as a demo shows it.
    pub fn new(seed: u64) -> Self {
        Self::with(seed, AdsOptions::default())
    }

    /// A feed with options of its own.
    pub fn with(seed: u64, options: AdsOptions) -> Self {
        let (advertisers, each) = (options.advertisers, options.campaigns_each);
        let reference_seed = options.reference_seed.unwrap_or(seed);
        Self {
            rng: StdRng::seed_from_u64(seed),
            mix: Mix::new(&options.shares),
            reference: AdsReference::generate(reference_seed, advertisers, each),
            options,
            clock: Clock::default(),
            saved: Remembered::default(),
            parked: Remembered::default(),
            sums: AdsSums::default(),
        }
    }

    /// The advertisers and campaigns that must be in the database before the first record.
    pub fn reference(&self) -> &AdsReference {
        &self.reference
    }

    /// What the saved rows of all records so far must add up to.
    pub fn sums(&self) -> AdsSums {
        self.sums
    }

    /// Draws what the record is to be and whose: a repeat has the identity of an earlier record.
    fn draw(&mut self) -> (Kind, Identity) {
        let kind = self.mix.draw(self.rng.next_u32());
        let repeated = match kind {
            Kind::Duplicate => self.saved.draw(&mut self.rng).map(|place| self.saved.all[place]),
            Kind::Corrected => self.parked.take(),
            _ => None,
        };
        if let Some(identity) = repeated {
            return (kind, identity);
        }
        let kind = match kind {
            // Nothing there to repeat yet.
            Kind::Duplicate | Kind::Corrected => Kind::Good,
            kind => kind,
        };
        let mut bytes = [0; 16];
        self.rng.fill_bytes(&mut bytes);
        let event_id = Builder::from_random_bytes(bytes).into_uuid();
        (kind, Identity { event_id, user: self.rng.random_range(0..self.options.users.max(1)) })
    }

    /// Writes the event, and gives what a row of it would add to the sums.
    fn write(&mut self, kind: Kind, identity: Identity, out: &mut Vec<u8>) -> AdsSums {
        let rng = &mut self.rng;
        let campaigns = &self.reference.campaigns;
        let campaign = &campaigns[rng.random_range(0..campaigns.len())];
        let advertiser = self.reference.owner_of(campaign);
        let is_click = rng.random_ratio(1, 4);
        let cost_micros = match kind {
            Kind::NegativeCost => -rng.random_range(1_i64..1_000),
            _ => rng.random_range(0_i64..2_000_000),
        };
        let (advertiser_id, campaign_id) = ids_for(kind, campaign, &self.reference);
        out.extend_from_slice(b"{\"event_id\":\"");
        let mut text = Uuid::encode_buffer();
        out.extend_from_slice(identity.event_id.hyphenated().encode_lower(&mut text).as_bytes());
        out.extend_from_slice(b"\",\"kind\":\"");
        out.extend_from_slice(if is_click { b"click" } else { b"impression" });
        // Writing into a vector cannot fail.
        let _ = write!(
            out,
            "\",\"advertiser_id\":{advertiser_id},\"campaign_id\":{campaign_id},\
             \"user_id\":\"u-{}\",{}\"cost_micros\":{cost_micros},\"occurred_at\":\"",
            identity.user,
            PLACEMENTS[rng.random_range(0..PLACEMENTS.len())],
        );
        self.clock.advance(rng.random_range(0..=STEP_MICROS_MAX));
        self.clock.write(out);
        out.extend_from_slice(b"\"}");
        let is_billable = is_click && campaign.is_active && advertiser.is_active;
        AdsSums { cost_micros, billable: u64::from(is_billable) }
    }

    fn keep_account(&mut self, expected: Expected, identity: Identity, row: AdsSums) {
        match expected {
            Expected::Saved => {
                self.sums.cost_micros += row.cost_micros;
                self.sums.billable += row.billable;
                self.saved.push(identity);
            }
            Expected::Rejected(_) | Expected::Refused(_) => self.parked.push(identity),
            Expected::Duplicate | Expected::Skipped => {}
        }
    }
}

impl Feed for AdsFeed {
    fn fill(&mut self, record: &mut FeedRecord) {
        let (kind, identity) = self.draw();
        record.bytes.clear();
        let row = self.write(kind, identity, &mut record.bytes);
        if kind == Kind::Malformed {
            let way = self.rng.random_range(0..spoil::WAYS.len());
            spoil::WAYS[way](&mut record.bytes);
        }
        record.is_tombstone = kind == Kind::Tombstone;
        record.key.clear();
        let _ = write!(record.key, "u-{}", identity.user);
        // By user, as a producer would: so a repeat follows what it repeats, in its partition.
        record.partition = (identity.user % self.options.partitions.max(1).cast_unsigned()) as i32;
        record.expected = expectation(kind);
        self.keep_account(record.expected, identity, row);
    }
}

impl Iterator for AdsFeed {
    type Item = FeedRecord;

    fn next(&mut self) -> Option<FeedRecord> {
        let mut record = FeedRecord::default();
        self.fill(&mut record);
        Some(record)
    }
}

fn expectation(kind: Kind) -> Expected {
    match kind {
        Kind::Good | Kind::Corrected => Expected::Saved,
        Kind::Duplicate => Expected::Duplicate,
        Kind::Tombstone => Expected::Skipped,
        Kind::Malformed => Expected::Rejected("malformed"),
        Kind::UnknownAdvertiser => Expected::Rejected("unknown advertiser"),
        Kind::UnknownCampaign => Expected::Rejected("unknown campaign"),
        Kind::ForeignCampaign => Expected::Rejected("campaign of another advertiser"),
        Kind::NegativeCost => Expected::Refused("negative cost"),
    }
}

/// The advertiser and campaign that a record names, true or not.
fn ids_for(kind: Kind, campaign: &Campaign, reference: &AdsReference) -> (i64, i64) {
    let advertisers = reference.advertisers.len() as i64;
    match kind {
        Kind::UnknownAdvertiser => (advertisers + campaign.id, campaign.id),
        Kind::UnknownCampaign => {
            (campaign.advertiser_id, reference.campaigns.len() as i64 + campaign.id)
        }
        Kind::ForeignCampaign => (campaign.advertiser_id % advertisers + 1, campaign.id),
        _ => (campaign.advertiser_id, campaign.id),
    }
}
