//! A seeded generator of ads records: what is sent, and beside it what was meant by it.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

use super::reference::Reference;
use super::spelling;

/// An ads event, as meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) event_id: Uuid,
    pub(crate) click: bool,
    pub(crate) advertiser_id: i64,
    pub(crate) campaign_id: i64,
    pub(crate) user_id: String,
    pub(crate) placement: Option<String>,
    pub(crate) cost_micros: i64,
    pub(crate) occurred_micros: i64,
}

/// What a record means, which is all that the model looks at.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    /// A readable event, though the pipeline or the table may refuse it.
    Event(Event),
    /// Nothing: a null value.
    Tombstone,
    /// Bytes that are no event, and in which way.
    Unreadable(&'static str),
}

impl Said {
    /// The id of an event.
    pub(crate) fn event_id(&self) -> Option<Uuid> {
        match self {
            Self::Event(event) => Some(event.event_id),
            Self::Tombstone | Self::Unreadable(_) => None,
        }
    }
}

/// A record before it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) partition: i32,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) timestamp_ms: i64,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
    pub(crate) said: Said,
}

/// A record with the offset that the broker gave it.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) offset: i64,
    pub(crate) draft: Draft,
}

/// The share of each kind of record that is not a plain new event, 0 to 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mix {
    pub(crate) duplicates: f64,
    /// Repeats of another partition's event.
    pub(crate) across_partitions: f64,
    pub(crate) malformed: f64,
    pub(crate) unknown_campaigns: f64,
    pub(crate) unknown_advertisers: f64,
    pub(crate) foreign_campaigns: f64,
    pub(crate) negative_costs: f64,
    pub(crate) tombstones: f64,
    /// Writes JSON in all the ways it may be written, instead of the usual one.
    pub(crate) odd_spelling: bool,
}

impl Mix {
    /// The shares that the promises are tried with.
    pub(crate) const USUAL: Self = Self {
        duplicates: 0.005,
        across_partitions: 0.0,
        malformed: 0.001,
        unknown_campaigns: 0.001,
        unknown_advertisers: 0.000_5,
        foreign_campaigns: 0.000_5,
        negative_costs: 0.001,
        tombstones: 0.001,
        odd_spelling: true,
    };

    /// Nothing but new events that can be saved.
    pub(crate) const CLEAN: Self = Self {
        duplicates: 0.0,
        malformed: 0.0,
        unknown_campaigns: 0.0,
        unknown_advertisers: 0.0,
        foreign_campaigns: 0.0,
        negative_costs: 0.0,
        tombstones: 0.0,
        ..Self::USUAL
    };
}

/// Makes records for ever; the same seed makes the same ones.
#[derive(Debug)]
pub(crate) struct Generator {
    rng: StdRng,
    mix: Mix,
    reference: Reference,
    begun_ms: i64,
    made: i64,
    /// Events that may be repeated, by partition: the latest ones, and a few from everywhere.
    past: Vec<Past>,
}

#[derive(Debug, Default)]
struct Past {
    near: Vec<Event>,
    far: Vec<Event>,
    seen: usize,
}

/// How many of the latest events of a partition may be repeated close by.
const NEAR: usize = 64;
/// One in how many events may be repeated at any distance.
const FAR_EVERY: usize = 97;

impl Generator {
    pub(crate) fn new(seed: u64, partitions: i32, mix: Mix, reference: &Reference) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            mix,
            reference: reference.clone(),
            begun_ms: chrono::Utc::now().timestamp_millis() - 60_000,
            made: 0,
            past: (0..partitions).map(|_| Past::default()).collect(),
        }
    }

    /// A new event that can be saved, for tests that bend it into shape.
    pub(crate) fn event(&mut self) -> Event {
        let rng = &mut self.rng;
        let (campaign, advertiser) =
            self.reference.pair(rng.random_range(0..self.reference.campaigns.len()));
        Event {
            event_id: Uuid::from_u128(rng.random()),
            click: rng.random_bool(0.3),
            advertiser_id: advertiser.id,
            campaign_id: campaign.id,
            user_id: spelling::user_id(rng, self.mix.odd_spelling),
            placement: spelling::placement(rng),
            cost_micros: rng.random_range(0..5_000_000),
            occurred_micros: spelling::occurred_micros(rng, self.mix.odd_spelling),
        }
    }

    /// A record that says `event`, in `partition`.
    pub(crate) fn record(&mut self, partition: i32, event: Event) -> Draft {
        let value = spelling::spell(&event, &mut self.rng, self.mix.odd_spelling);
        self.draft(partition, Some(value), Said::Event(event))
    }

    /// A record whose bytes are no event.
    pub(crate) fn unreadable(&mut self, partition: i32) -> Draft {
        let event = self.event();
        let (value, way) = spelling::misspell(&event, &mut self.rng);
        self.draft(partition, Some(value), Said::Unreadable(way))
    }

    /// A record whose value is exactly this, and is no event.
    pub(crate) fn unreadable_as(&mut self, partition: i32, value: &[u8]) -> Draft {
        self.draft(partition, Some(value.to_vec()), Said::Unreadable("made by hand"))
    }

    /// A record without a value.
    pub(crate) fn tombstone(&mut self, partition: i32) -> Draft {
        self.draft(partition, None, Said::Tombstone)
    }

    /// `count` records, one partition after the other.
    pub(crate) fn records(&mut self, count: usize) -> Vec<Draft> {
        self.by_ref().take(count).collect()
    }

    fn draft(&mut self, partition: i32, value: Option<Vec<u8>>, said: Said) -> Draft {
        self.made += 1;
        let key = match self.rng.random_range(0..10) {
            0 => None,
            1 => Some(vec![0, 255, 128, 10]),
            2 => Some(Vec::new()),
            _ => Some(format!("key-{}", self.rng.random_range(0..5000)).into_bytes()),
        };
        let headers = match self.rng.random_range(0..20) {
            0 => vec![
                ("trace".to_owned(), Some(vec![0xc3, 0x28, 0])),
                ("trace".to_owned(), Some(b"a second one of this name".to_vec())),
                ("none".to_owned(), None),
            ],
            1 => vec![
                ("source".to_owned(), Some("straße".as_bytes().to_vec())),
                ("nul".to_owned(), Some(b"text\0text".to_vec())),
                (String::new(), Some(Vec::new())),
            ],
            _ => Vec::new(),
        };
        let timestamp_ms = self.begun_ms + self.made % 60_000;
        Draft { partition, key, value, timestamp_ms, headers, said }
    }

    fn remember(&mut self, partition: usize, event: &Event) {
        let past = &mut self.past[partition];
        let place = past.seen % NEAR;
        if place < past.near.len() {
            past.near[place] = event.clone();
        } else {
            past.near.push(event.clone());
        }
        if past.seen.is_multiple_of(FAR_EVERY) {
            past.far.push(event.clone());
        }
        past.seen += 1;
    }

    /// An earlier event of `partition` again: word for word, or with other content.
    fn repeat(&mut self, partition: usize) -> Option<Event> {
        let past = &self.past[partition];
        let from = if self.rng.random_bool(0.7) { &past.near } else { &past.far };
        let earlier = from.get(self.rng.random_range(0..from.len().max(1)))?;
        let (event_id, word_for_word) = (earlier.event_id, earlier.clone());
        if self.rng.random_bool(0.5) {
            return Some(word_for_word);
        }
        Some(Event { event_id, ..self.event() })
    }

    /// A new event, or one with something wrong with it, by the shares of the mix.
    fn new_event(&mut self, roll: f64) -> Event {
        let mut event = self.event();
        let mut share = 0.0;
        let mut falls_to = |of: f64| {
            share += of;
            roll < share
        };
        if falls_to(self.mix.unknown_campaigns) {
            event.campaign_id += 1;
        } else if falls_to(self.mix.unknown_advertisers) {
            event.advertiser_id = -event.advertiser_id;
        } else if falls_to(self.mix.foreign_campaigns) {
            let others = &self.reference.advertisers;
            let index = others.iter().position(|one| one.id == event.advertiser_id);
            event.advertiser_id = others[(index.unwrap_or(0) + 1) % others.len()].id;
        } else if falls_to(self.mix.negative_costs) {
            event.cost_micros = -1 - event.cost_micros;
        }
        event
    }
}

impl Iterator for Generator {
    type Item = Draft;

    fn next(&mut self) -> Option<Draft> {
        let partition = self.made as usize % self.past.len();
        let other = (partition + 1 + self.rng.random_range(0..self.past.len())) % self.past.len();
        let (number, roll) = (partition as i32, self.rng.random::<f64>());
        let mix = self.mix;
        if roll < mix.malformed {
            return Some(self.unreadable(number));
        }
        let roll = roll - mix.malformed;
        if roll < mix.tombstones {
            return Some(self.tombstone(number));
        }
        let roll = roll - mix.tombstones;
        let repeated = if roll < mix.duplicates {
            self.repeat(partition)
        } else if roll < mix.duplicates + mix.across_partitions {
            self.repeat(other)
        } else {
            None
        };
        let roll = roll - mix.duplicates - mix.across_partitions;
        let event = repeated.unwrap_or_else(|| self.new_event(roll.max(0.0)));
        self.remember(partition, &event);
        Some(self.record(number, event))
    }
}
