//! Work by key: each record waits, as for a service that it calls, in the order of its key; nothing
//! is saved but the offset.

use std::io::Write as _;
use std::time::Duration;

use longshore_actors::error::Unworked;
use longshore_actors::pipeline::{Order, Out, Outcome, Pipeline};
use longshore_actors::record::{Record, Unparsed};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{BoxedFeed, Mode, Reference, Shape, Table};
use crate::feed::{Expected, Feed, FeedRecord};
use crate::postgres::migrate::MigrationSet;
use crate::service::PostgresPipeline;

/// How long each record waits.
pub(crate) const WAIT: Duration = Duration::from_millis(10);

/// Different keys.
const KEYS: u32 = 1_000_000;

/// The pipeline that waits. Known to a service that the bench starts, and to no other.
pub(crate) struct BenchWork;

impl Pipeline for BenchWork {
    // A user's own pipeline may well be called "work".
    const NAME: &'static str = "bench_work";
    const ORDER: Order = Order::ByKey;
    type Event<'a> = ();
    type Context = ();
    type Rows = ();

    fn parse(&self, _: &Record<'_>) -> Result<(), Unparsed> {
        Ok(())
    }

    fn keys(&self, (): &(), (): &mut ()) {}

    async fn work(&self, (): &(), (): &(), _: &mut Out<'_, ()>) -> Result<Outcome, Unworked> {
        tokio::time::sleep(WAIT).await;
        Ok(Outcome::Skip("waited"))
    }
}

impl PostgresPipeline for BenchWork {
    // It has no tables of its own.
    const MIGRATIONS: MigrationSet = MigrationSet::LONGSHORE;
}

/// See the module.
pub(super) struct WorkMode;

impl Mode for WorkMode {
    fn name(&self) -> &'static str {
        "work"
    }

    fn pipeline(&self) -> &'static str {
        BenchWork::NAME
    }

    fn records(&self) -> u64 {
        200_000
    }

    fn partitions(&self) -> i32 {
        8
    }

    fn settings(&self) -> &'static [(&'static str, &'static str)] {
        &[("work.in_flight", "1000"), ("order", "\"by_key\"")]
    }

    fn feed(&self, shape: &Shape, partitions: i32) -> BoxedFeed {
        let rng = StdRng::seed_from_u64(shape.seed);
        let zipf = shape.zipf.then(|| Zipf::new(KEYS));
        BoxedFeed::new(WorkFeed { rng, zipf, partitions: partitions.max(1) }, shape)
    }

    fn table(&self) -> Option<Table> {
        None
    }

    fn reference(&self, _: &Shape) -> Vec<Reference> {
        Vec::new()
    }
}

/// Records with a key and next to nothing else.
struct WorkFeed {
    rng: StdRng,
    zipf: Option<Zipf>,
    partitions: i32,
}

impl Feed for WorkFeed {
    fn fill(&mut self, record: &mut FeedRecord) {
        let key = match &self.zipf {
            Some(zipf) => zipf.draw(self.rng.random()),
            None => self.rng.random_range(0..KEYS),
        };
        record.key.clear();
        record.bytes.clear();
        // Writing into a vector cannot fail.
        let _ = write!(record.key, "k-{key}");
        let _ = write!(record.bytes, "{{\"key\":{key}}}");
        // Scattered, so that the hottest keys do not lie side by side.
        let place = key.wrapping_mul(2_654_435_761) >> 8;
        record.partition = (place % self.partitions.unsigned_abs()) as i32;
        record.is_tombstone = false;
        record.expected = Expected::Skipped;
    }
}

/// Ranks whose frequency falls as 1 / rank.
struct Zipf {
    /// What the frequencies up to each rank add up to.
    sums: Vec<f64>,
}

impl Zipf {
    fn new(ranks: u32) -> Self {
        let frequencies = (1..=ranks).map(|rank| 1.0 / f64::from(rank));
        let sums = frequencies.scan(0.0, |sum, frequency| {
            *sum += frequency;
            Some(*sum)
        });
        Self { sums: sums.collect() }
    }

    /// The rank, from 0, that an even draw between 0 and 1 stands for.
    fn draw(&self, even: f64) -> u32 {
        let at = even * self.sums.last().copied().unwrap_or(0.0);
        let rank = self.sums.partition_point(|sum| *sum < at);
        u32::try_from(rank.min(self.sums.len() - 1)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::Zipf;

    #[test]
    fn the_first_key_is_twice_as_frequent_as_the_second() {
        let zipf = Zipf::new(1_000);
        let draws = (0..100_000).map(|n| zipf.draw(f64::from(n) / 100_000.0));
        let mut counts = vec![0_u32; 1_000];
        draws.for_each(|rank| counts[rank as usize] += 1);
        assert!((1.95..2.05).contains(&(f64::from(counts[0]) / f64::from(counts[1]))));
        assert!(counts[999] > 0, "the rarest key is drawn, too");
    }
}
