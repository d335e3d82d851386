//! Reads the records of a batch as events, and gathers what to look up and which lane each one
//! belongs to. User code runs here, so a panic becomes the record's rejection.

use std::hash::BuildHasher;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use hashbrown::{DefaultHashBuilder, HashMap};

use crate::batch::Parcel;
use crate::decoded::{Decoded, Entry};
use crate::error::Reject;
use crate::health::Pulse;
use crate::lanes::{HeldLanes, LaneKeys};
use crate::pipeline::{KeysOf, Order, Pipeline};
use crate::record::{Offset, Record, Unparsed};
use crate::stages;

/// Decodes batches of one partition. Keeps its scratch space from batch to batch.
pub(crate) struct Decoder<P> {
    pipeline: Arc<P>,
    order: Order,
    lane: Vec<u8>,
    hasher: DefaultHashBuilder,
}

/// What a batch is read under.
pub(crate) struct Reading<'a> {
    /// A record that is judged before it is read.
    pub(crate) verdict: Option<&'a Verdict>,
    /// More of them, by offset.
    pub(crate) refused: &'a HashMap<Offset, Reject>,
    /// The lanes whose records wait; `None` for records that were parked before.
    pub(crate) held: Option<&'a HeldLanes>,
    /// Where progress is told.
    pub(crate) pulse: &'a Pulse,
}

/// A record that is parked unread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) offset: Offset,
    pub(crate) reject: Reject,
}

/// A decoded batch: its events, what to look up for them, and their lanes.
pub(crate) type Read<P> = (Decoded<P>, KeysOf<P>, LaneKeys);

impl<P: Pipeline> Decoder<P> {
    pub(crate) fn new(pipeline: Arc<P>, order: Order, hasher: DefaultHashBuilder) -> Self {
        Self { pipeline, order, lane: Vec::new(), hasher }
    }

    /// Reads all records of `parcel` but the one that is judged already.
    pub(crate) fn decode(&mut self, parcel: Arc<Parcel>, reading: &Reading<'_>) -> Read<P> {
        let (mut keys, mut lanes) = (KeysOf::<P>::default(), LaneKeys::default());
        let began = Instant::now();
        let events = Decoded::read(parcel, |parcel| {
            let entry = |record| self.entry(&record, &mut keys, &mut lanes, reading);
            parcel.arena.iter().map(entry).collect()
        });
        stages::DECODE.took(began.elapsed());
        (events, keys, lanes)
    }

    fn entry<'a>(
        &mut self,
        record: &Record<'a>,
        keys: &mut KeysOf<P>,
        lanes: &mut LaneKeys,
        reading: &Reading<'_>,
    ) -> Entry<P::Event<'a>> {
        reading.pulse.take_up(record.offset.0);
        let by_key = self.order == Order::ByKey;
        let condemned = reading.verdict.filter(|verdict| verdict.offset == record.offset);
        let mut read = match condemned {
            Some(verdict) => Entry::Reject(Box::new(verdict.reject.clone())),
            None => self.read(record, keys, reading),
        };
        if by_key {
            let has_lane = matches!(read, Entry::Event { .. } | Entry::Wait);
            lanes.push(has_lane.then_some(&self.lane));
        }
        // Read all the same: it is parked with its lane.
        if let (Some(reject), Entry::Event { .. }) = (reading.refused.get(&record.offset), &read) {
            read = Entry::Reject(Box::new(reject.clone()));
        }
        read
    }

    fn read<'a>(
        &mut self,
        record: &Record<'a>,
        keys: &mut KeysOf<P>,
        reading: &Reading<'_>,
    ) -> Entry<P::Event<'a>> {
        let read = catch_unwind(AssertUnwindSafe(|| {
            let event = self.pipeline.parse(record)?;
            self.lane.clear();
            if self.order == Order::ByKey {
                self.pipeline.lane_key(&event, record, &mut self.lane);
            }
            let waits = reading.held.is_some_and(|held| held.records(&self.lane) > 0);
            if !waits {
                self.pipeline.keys(&event, keys);
            }
            Ok((event, waits))
        }));
        match read {
            Ok(Ok((_, true))) => Entry::Wait,
            Ok(Ok((event, _))) => Entry::Event { event, lane: self.hasher.hash_one(&self.lane) },
            Ok(Err(Unparsed::Skip(reason))) => Entry::Skip(reason),
            Ok(Err(Unparsed::Reject(error))) => {
                Entry::Reject(Box::new(Reject::new("malformed", error)))
            }
            Err(panic) => Entry::Reject(Box::new(rejected_by_panic("parse", &*panic))),
        }
    }
}

/// A panic in user code, as the rejection of the record that it met.
pub(crate) fn rejected_by_panic(place: &'static str, panic: &(dyn std::any::Any + Send)) -> Reject {
    let message = panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned());
    Reject::new("panic", format!("{place} panicked: {message}"))
}
