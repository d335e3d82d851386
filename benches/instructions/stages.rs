//! What is counted at each stage. Each prepares what it needs, does one round that does not count,
//! and then as many as are asked for, of one batch each.

use std::hint::black_box;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::ValueEnum;
use longshore::feed::{AdsReference, FeedPlan, Feeder, Throttle};
use longshore::kafka::alone::LonePartition;
use longshore::kafka::ffi::MockCluster;
use longshore::kafka::properties::{self, Settings};
use longshore::kafka::{BatchLimits, ThreadSource};
use longshore::pipelines::ads::Ads;
use longshore::pipelines::ads::tables::Known;
use longshore::postgres::lookups::{LoadContext, LookupRules};
use longshore_actors::door::{Door, Front};
use longshore_actors::pipeline::{Context, Keys};
use longshore_actors::rows::RowBuffer;
use longshore_actors::testing::front::{CollectingFront, Shelf};
use longshore_actors::testing::{Alone, home};
use longshore_actors::ticket::BudgetLimits;
use longshore_actors::workers::CHUNK_RECORDS;
use rdkafka::consumer::BaseConsumer;

use crate::canned::{self, Answer};
use crate::records;

/// How long fetching may take, under valgrind too.
const FETCH_LIMIT: Duration = Duration::from_secs(60);

/// Holes to be filled of each size, and their sizes.
const HOLES: usize = 200;
const HOLE_STEP: usize = 64;
const HOLE_SIZES: usize = 32;

/// A stage that records pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Stage {
    /// From librdkafka's messages into the batch's arena
    Read,
    /// From bytes to events, keys and lanes gathered
    Decode,
    /// Distinct keys, queries, and maps of what is found
    Context,
    /// The pipeline's `work`, encoding included
    Work,
    /// Rows into binary COPY form
    Encode,
}

impl Stage {
    pub(crate) const ALL: [Self; 5] =
        [Self::Read, Self::Decode, Self::Context, Self::Work, Self::Encode];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Decode => "decode",
            Self::Context => "context",
            Self::Work => "work",
            Self::Encode => "encode",
        }
    }

    /// Does `rounds` rounds that count.
    pub(crate) fn run(self, rounds: usize) {
        match self {
            Self::Read => read(rounds),
            Self::Decode => decode(rounds),
            Self::Context => context(rounds),
            Self::Work => work(rounds),
            Self::Encode => encode(rounds),
        }
    }
}

/// One round that does not count, then those that do. Valgrind counts while this thread is in
/// [`counted_rounds`], and finds it by its name.
fn rounds(rounds: usize, mut round: impl FnMut()) {
    let _filling = fill_holes();
    round();
    counted_rounds(rounds, &mut round);
}

/// Fills what the preparations have left free among what they keep, differently each time: looking
/// for room there would count. It is free for others again when the filling is dropped.
fn fill_holes() -> Vec<Vec<u8>> {
    let size = |index: usize| index % HOLE_SIZES * HOLE_STEP;
    (0..HOLES * HOLE_SIZES).map(|index| Vec::with_capacity(size(index))).collect()
}

/// Not generic and not inlined, so that there is one function of this name.
#[inline(never)]
fn counted_rounds(rounds: usize, round: &mut dyn FnMut()) {
    for _ in 0..rounds {
        round();
    }
}

fn read(num_rounds: usize) {
    let fetched = records::BATCH_RECORDS * (num_rounds + 1);
    let mock = MockCluster::new(1).expect("a mock cluster");
    let brokers = mock.bootstrap_servers();
    mock.create_topic(&records::partition().topic, 1, 1).expect("a topic");
    // A thread has a heap of its own: what sending leaves of it is never twice the same.
    thread::scope(|scope| scope.spawn(|| send(&brokers, fetched)).join()).expect("all are sent");
    let settings = Settings {
        brokers: &brokers,
        group: "bench",
        user: &Default::default(),
        fetch_budget_bytes: 64 << 20,
        partitions: 1,
        linger: Duration::from_millis(50),
    };
    let config = properties::consumer(&settings).expect("our own properties");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let limits = BatchLimits {
        records: records::BATCH_RECORDS,
        bytes: 8 << 20,
        linger: Duration::from_secs(3600),
    };
    let (front, door) = door();
    let mut partition = LonePartition::open(&consumer, door, limits).expect("its partition");
    assert!(partition.fetch(fetched, FETCH_LIMIT), "the records are not fetched");
    rounds(num_rounds, || {
        let read = partition.read().expect("records can be read");
        assert_eq!(read, records::BATCH_RECORDS as u64);
    });
    drop((partition, front));
}

fn send(brokers: &str, num_records: usize) {
    let feeder = Feeder::try_new(brokers, &records::partition().topic, &[]).expect("a producer");
    let plan = FeedPlan::new(Some(num_records as u64), Throttle::off());
    feeder.run(&mut records::feed(), plan).expect("all records are sent");
}

/// The door of the partition, in front of somebody who keeps the batches as they are.
fn door() -> (Arc<CollectingFront>, Door) {
    let limits = BudgetLimits { records: u64::MAX, bytes: u64::MAX, batches: 1000 };
    let (source, _) = ThreadSource::channel();
    let front = CollectingFront::start(Shelf::default(), limits, source);
    front.hold();
    let door = front.assign(vec![records::partition()]).pop().expect("a door a partition");
    (front, door)
}

fn decode(num_rounds: usize) {
    let mut alone = Alone::new(Ads, records::partition());
    let parcel = Alone::<Ads>::parcel(records::arena());
    rounds(num_rounds, || drop(black_box(alone.decode(parcel.clone()))));
}

fn context(num_rounds: usize) {
    let mut alone = Alone::new(Ads, records::partition());
    let (_, wanted) = alone.decode(Alone::<Ads>::parcel(records::arena()));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let conn = runtime.block_on(canned::connect(answers(records::feed().reference())));
    // Nothing is kept: all rows are read by their keys.
    let rules = LookupRules { cached_rows: 0, ..LookupRules::default() };
    let caches = Known::caches(&rules);
    rounds(num_rounds, || {
        let mut keys = <Known as Context>::Keys::default();
        keys.unite(&wanted);
        let known = runtime.block_on(Known::load(&conn, &keys, &caches, true));
        let known = black_box(known.expect("the answers are right"));
        assert!(known.advertisers.num_read() > 0 && known.campaigns.num_read() > 0);
    });
}

/// All advertisers and campaigns, and no event that was saved before.
fn answers(reference: &AdsReference) -> Vec<Answer> {
    use canned::{BPCHAR, INT8, TEXT, UUID};
    let mut advertisers = Answer::new("advertisers", &[INT8, TEXT, TEXT, BPCHAR]);
    for row in &reference.advertisers {
        let (id, status) = (row.id.to_be_bytes(), row.status());
        advertisers.row(&[&id, row.name.as_bytes(), status.as_bytes(), row.currency.as_bytes()]);
    }
    let mut campaigns = Answer::new("campaigns", &[INT8, INT8, TEXT, TEXT]);
    for row in &reference.campaigns {
        let (id, of) = (row.id.to_be_bytes(), row.advertiser_id.to_be_bytes());
        let status = row.status();
        campaigns.row(&[&id, &of, row.name.as_bytes(), status.as_bytes()]);
    }
    vec![advertisers, campaigns, Answer::new("enriched_events", &[UUID])]
}

fn work(num_rounds: usize) {
    let mut alone = Alone::new(Ads, records::partition());
    let known = records::known(records::feed().reference());
    let home = actix::System::new().block_on(async { home() });
    let loaded = alone.load(&Alone::<Ads>::parcel(records::arena()), known, home);
    rounds(num_rounds, || {
        let worked = black_box(alone.work(&loaded));
        let to_save: u32 = worked.iter().map(|chunk| chunk.to_save).sum();
        assert_eq!(to_save as usize, records::BATCH_RECORDS);
    });
}

fn encode(num_rounds: usize) {
    let (feed, values) = (records::feed(), records::values());
    let rows = records::rows(&values, feed.reference());
    rounds(num_rounds, || {
        for rows in rows.chunks(CHUNK_RECORDS as usize) {
            let mut buffer = RowBuffer::new(1);
            for (record, row) in (0..).zip(rows) {
                buffer.push(0, record, row).expect("the feed's values fit their columns");
            }
            drop(black_box(buffer));
        }
    });
}
