//! The example pipelines that a demo feeds: their topics, their feeds, and what their tables must
//! add up to.

use crate::feed::{AdsFeed, AdsOptions, Feed, FeedRecord, PaymentsFeed, PaymentsOptions};

/// Partitions of each of the demo's topics.
pub const PARTITIONS: i32 = 8;

/// An example pipeline, as a demo runs it.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// The pipeline.
    pub kind: &'static str,
    /// Its topic and group in a demo, so that it never touches those of a service on the same
    /// servers.
    pub topic: &'static str,
    /// See `topic`.
    pub group: &'static str,
    /// The table that it saves to.
    pub table: &'static str,
    /// Gives one array: the table's rows, and what belongs to each of `sums`.
    pub(super) query: &'static str,
    /// What the table adds up to beside its rows, and the unit that it is shown in.
    pub(super) sums: &'static [(&'static str, i64)],
    feed: fn(u64) -> ExampleFeed,
}

/// All of them.
pub const EXAMPLES: [Example; 2] = [
    Example {
        kind: "ads",
        topic: "longshore.demo.ads.events",
        group: "longshore.demo.ads",
        table: "ads.enriched_events",
        query: "select array[count(*), count(*) filter (where billable), \
             coalesce(sum(cost_micros), 0)]::bigint[] as numbers from ads.enriched_events",
        sums: &[("billable", 1), ("cost", 1_000_000)],
        feed: |seed| {
            // The last demo's may be in the database.
            let reference_seed = Some(1);
            let options =
                AdsOptions { partitions: PARTITIONS, reference_seed, ..AdsOptions::default() };
            ExampleFeed::Ads(AdsFeed::with(seed, options))
        },
    },
    Example {
        kind: "payments",
        topic: "longshore.demo.payments.transfers",
        group: "longshore.demo.payments",
        table: "payments.payments",
        query: "select array[count(*), coalesce(sum(amount_cents), 0), \
             (select coalesce(sum(balance_cents), 0) from payments.accounts)]::bigint[] \
             as numbers from payments.payments",
        sums: &[("paid", 100), ("on accounts", 100)],
        feed: |seed| {
            let options = PaymentsOptions { partitions: PARTITIONS, ..PaymentsOptions::default() };
            ExampleFeed::Payments(PaymentsFeed::with(seed, options))
        },
    },
];

impl Example {
    /// A feed of it.
    pub fn feed(&self, seed: u64) -> ExampleFeed {
        (self.feed)(seed)
    }
}

/// The feed of an example pipeline.
#[derive(Clone, Debug)]
pub enum ExampleFeed {
    /// Of ads.
    Ads(AdsFeed),
    /// Of payments.
    Payments(PaymentsFeed),
}

impl ExampleFeed {
    /// The SQL that inserts what the records refer to.
    pub fn reference_sql(&self) -> String {
        match self {
            Self::Ads(feed) => feed.reference().insert_sql(),
            Self::Payments(feed) => feed.reference().insert_sql(),
        }
    }

    /// What the records so far must add to each of the example's sums.
    pub(super) fn sums(&self) -> Vec<i64> {
        match self {
            Self::Ads(feed) => {
                vec![feed.sums().billable.cast_signed(), feed.sums().cost_micros]
            }
            Self::Payments(feed) => vec![feed.amount_cents(); 2],
        }
    }
}

impl Feed for ExampleFeed {
    fn fill(&mut self, record: &mut FeedRecord) {
        match self {
            Self::Ads(feed) => feed.fill(record),
            Self::Payments(feed) => feed.fill(record),
        }
    }
}
