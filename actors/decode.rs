//! Reads the records of a batch as events, and gathers what to look up and which lane each one
//! belongs to. User code runs here, so a panic becomes the record's rejection.

use std::hash::BuildHasher;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use hashbrown::DefaultHashBuilder;

use crate::batch::Parcel;
use crate::caution::{KILLS_THE_PROCESS, STARTS_MAX};
use crate::decoded::{Decoded, Entry};
use crate::error::Reject;
use crate::health::Pulse;
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

impl<P: Pipeline> Decoder<P> {
    pub(crate) fn new(pipeline: Arc<P>, order: Order, hasher: DefaultHashBuilder) -> Self {
        Self { pipeline, order, lane: Vec::new(), hasher }
    }

    /// Reads all records of `parcel` but the one that is condemned for killing the process.
    pub(crate) fn decode(
        &mut self,
        parcel: Arc<Parcel>,
        condemned: Option<Offset>,
        pulse: &Pulse,
    ) -> (Decoded<P>, KeysOf<P>) {
        let (mut keys, began) = (KeysOf::<P>::default(), Instant::now());
        let events =
            Decoded::read(parcel, |parcel| self.entries(parcel, &mut keys, condemned, pulse));
        stages::DECODE.took(began.elapsed());
        (events, keys)
    }

    fn entries<'a>(
        &mut self,
        parcel: &'a Parcel,
        keys: &mut KeysOf<P>,
        condemned: Option<Offset>,
        pulse: &Pulse,
    ) -> Vec<Entry<P::Event<'a>>> {
        let entry = |record: Record<'a>| {
            pulse.take_up(record.offset.0);
            if condemned == Some(record.offset) {
                return Entry::Reject(Box::new(condemned_at(record.offset)));
            }
            self.entry(&record, keys)
        };
        parcel.arena.iter().map(entry).collect()
    }

    fn entry<'a>(&mut self, record: &Record<'a>, keys: &mut KeysOf<P>) -> Entry<P::Event<'a>> {
        let read = catch_unwind(AssertUnwindSafe(|| {
            let event = self.pipeline.parse(record)?;
            self.pipeline.keys(&event, keys);
            self.lane.clear();
            if self.order == Order::ByKey {
                self.pipeline.lane_key(&event, record, &mut self.lane);
            }
            Ok(event)
        }));
        match read {
            Ok(Ok(event)) => Entry::Event { event, lane: self.hasher.hash_one(&self.lane) },
            Ok(Err(Unparsed::Skip(reason))) => Entry::Skip(reason),
            Ok(Err(Unparsed::Reject(error))) => {
                Entry::Reject(Box::new(Reject::new("malformed", error)))
            }
            Err(panic) => Entry::Reject(Box::new(rejected_by_panic("parse", &*panic))),
        }
    }
}

fn condemned_at(offset: Offset) -> Reject {
    let error = format!(
        "the process died {STARTS_MAX} times in a row while offset {offset} was tried by itself; \
         mend `parse` or `work` before it is sent again"
    );
    Reject::new(KILLS_THE_PROCESS, error)
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
