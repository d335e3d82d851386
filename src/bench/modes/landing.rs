//! Landing: records are copied as they are, without a look at them.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{BoxedFeed, Mode, Reference, Shape, Table};
use crate::feed::{AdsFeed, AdsOptions, AdsShares, Expected, Feed, FeedRecord};

/// See the module.
pub(super) struct LandingMode;

impl Mode for LandingMode {
    fn name(&self) -> &'static str {
        "landing"
    }

    fn feed(&self, shape: &Shape, partitions: i32) -> BoxedFeed {
        let options = AdsOptions { partitions, shares: AdsShares::NONE, ..AdsOptions::default() };
        let feed = LandingFeed {
            feed: AdsFeed::with(shape.seed, options),
            rng: StdRng::seed_from_u64(shape.seed),
            malformed: shape.malformed,
            bytes_max: if shape.record_bytes > 0 { shape.record_bytes } else { usize::MAX },
        };
        BoxedFeed::new(feed, shape)
    }

    fn table(&self) -> Option<Table> {
        Some(Table {
            name: "landing.records",
            reset: "truncate landing.records",
            resets_reference: false,
            of_a_run: "topic <> 'longshore.bench.before'",
            preload: Some(
                "insert into landing.records (topic, partition, \"offset\", recorded_at, key, \
                 value) select 'longshore.bench.before', n % 12, n, now(), 'u-' || n, \
                 repeat(md5(n::text), 6) from generate_series(1, $rows) n",
            ),
            left_out: None,
        })
    }

    fn reference(&self, _: &Shape) -> Vec<Reference> {
        Vec::new()
    }
}

/// Values that are any text; each one lands, a repeat of another's content too.
struct LandingFeed {
    feed: AdsFeed,
    rng: StdRng,
    malformed: f64,
    bytes_max: usize,
}

impl Feed for LandingFeed {
    fn fill(&mut self, record: &mut FeedRecord) {
        self.feed.fill(record);
        record.bytes.truncate(self.bytes_max);
        record.expected = Expected::Saved;
        if self.rng.random_bool(self.malformed) {
            // A NUL, which no text of PostgreSQL can hold.
            record.bytes[0] = 0;
            record.expected = Expected::Rejected("malformed");
        }
    }
}
