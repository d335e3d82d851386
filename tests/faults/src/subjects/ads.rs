//! Feeds the shipped ads pipeline with a topic on a bad day, and compares what its table adds up to
//! with what the feed says.

use anyhow::Result;
use longshore::feed::{AdsFeed, AdsOptions, AdsShares, Expected, Feed, FeedRecord};
use postgres::Client;

use crate::{Becomes, Delivered, Draft, Subject};

/// How many partitions the topic has.
const PARTITIONS: i32 = 4;

/// Plenty of repeats, and some of each kind of bad record.
const SHARES: AdsShares = AdsShares {
    duplicate: 0.05,
    corrected: 0.001,
    malformed: 0.001,
    unknown_advertiser: 0.001,
    unknown_campaign: 0.001,
    foreign_campaign: 0.001,
    negative_cost: 0.001,
    tombstone: 0.005,
};

/// Feeds and checks the ads pipeline.
pub struct AdsSubject {
    feed: AdsFeed,
    record: FeedRecord,
}

impl AdsSubject {
    /// The records that `seed` gives.
    pub fn new(seed: u64) -> Self {
        let options = AdsOptions { partitions: PARTITIONS, shares: SHARES, ..Default::default() };
        Self { feed: AdsFeed::with(seed, options), record: FeedRecord::default() }
    }
}

impl Subject for AdsSubject {
    fn name(&self) -> &str {
        "ads"
    }

    fn settings(&self) -> Vec<(&str, String)> {
        vec![
            ("batch", "{ records = 1000, linger = \"20 ms\" }".to_owned()),
            ("dead_letter_budget", "\"off\"".to_owned()),
        ]
    }

    fn partitions(&self) -> i32 {
        PARTITIONS
    }

    fn prepare(&mut self, database: &mut Client) -> Result<()> {
        Ok(database.batch_execute(&self.feed.reference().insert_sql())?)
    }

    fn draw(&mut self, draft: &mut Draft) {
        self.feed.fill(&mut self.record);
        draft.partition = self.record.partition;
        draft.key.clone_from(&self.record.key);
        draft.value.clone_from(&self.record.bytes);
        draft.is_tombstone = self.record.is_tombstone;
        draft.becomes = match self.record.expected {
            Expected::Saved => Becomes::Saved,
            Expected::Duplicate | Expected::Skipped => Becomes::Passed,
            Expected::Rejected(_) | Expected::Refused(_) => Becomes::Parked,
        };
    }

    fn check(&self, delivered: &[Delivered], database: &mut Client) -> Result<Vec<String>> {
        let saved = delivered.iter().filter(|record| record.becomes == Becomes::Saved).count();
        let row = database.query_one(
            "select count(*), coalesce(sum(cost_micros), 0)::bigint,
                count(*) filter (where billable)
             from ads.enriched_events",
            &[],
        )?;
        let sums = self.feed.sums();
        let pairs = [
            ("rows", row.get::<_, i64>(0), saved as i64),
            ("cost_micros in all", row.get(1), sums.cost_micros),
            ("billable rows", row.get(2), sums.billable.cast_signed()),
        ];
        let differ = pairs.into_iter().filter(|(_, is, should)| is != should);
        Ok(differ.map(|(what, is, should)| format!("ads: {is} {what}, not {should}")).collect())
    }
}
