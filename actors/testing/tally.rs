//! The pipeline of the tests: a record says a key and a number, each saved as a row without a
//! unique key, so that a doubled effect and a broken order can be seen.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use bytes::{BufMut, BytesMut};
use hashbrown::HashSet;
use serde::Deserialize;

use crate::error::{EncodeError, Reject, RetryLater, Unworked};
use crate::message::Message;
use crate::own::OwnActors;
use crate::pipeline::{Context, Keys, Out, Outcome, Pipeline};
use crate::record::{Record, Unparsed};
use crate::rows::Row;
use crate::testing::waits::{Turnstile, Waiting, Waits};

/// Saves each event as a row; panics for number -1, rejects -2, skips -3, and puts off what has a
/// failing key. Before that it waits, if it is told to.
#[derive(Debug, Default)]
pub struct Tally {
    /// Every event in the order of its work: key, number.
    pub worked: Mutex<Vec<(u64, i64)>>,
    /// Keys whose events are to be tried again later, just now.
    pub failing: Mutex<HashSet<u64>>,
    /// How long the work of an event waits, just now.
    pub waits: Mutex<Waits>,
    /// Events whose work waits.
    pub waiting: Waiting,
    turnstile: Turnstile,
    /// Whether two messages to `tallied` are published for each event: `NUMBER.a`, `NUMBER.b`.
    pub publishing: AtomicBool,
}

/// What a record says.
#[derive(Debug, Deserialize)]
pub struct TallyEvent {
    key: u64,
    number: i64,
}

/// The value of a record.
pub fn tally_value(key: u64, number: i64) -> Vec<u8> {
    format!(r#"{{"key":{key},"number":{number}}}"#).into_bytes()
}

/// The row of one event.
#[derive(Debug)]
pub struct TallyRow {
    key: u64,
    number: i64,
}

impl Row for TallyRow {
    const TABLE: &'static str = "tally";

    fn encode(&self, row: &mut BytesMut, _key: &mut Vec<u8>) -> Result<(), EncodeError> {
        row.put_u64(self.key);
        row.put_i64(self.number);
        Ok(())
    }
}

/// How many keys were looked up together.
#[derive(Debug, Default)]
pub struct TallyContext {
    /// The distinct keys of the query.
    pub keys: usize,
}

/// Keys to look up.
#[derive(Debug, Default)]
pub struct TallyKeys(pub(crate) HashSet<u64>);

impl Keys for TallyKeys {
    fn unite(&mut self, other: &Self) {
        self.0.extend(&other.0);
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Context for TallyContext {
    type Keys = TallyKeys;
}

impl Pipeline for Tally {
    const NAME: &'static str = "tally";
    type Event<'a> = TallyEvent;
    type Context = TallyContext;
    type Rows = (TallyRow,);

    fn actors(&self, own: &mut OwnActors) {
        self.turnstile.open(own);
    }

    fn parse<'a>(&self, record: &Record<'a>) -> Result<TallyEvent, Unparsed> {
        record.decode()
    }

    fn lane_key(&self, event: &TallyEvent, _: &Record<'_>, lane: &mut Vec<u8>) {
        lane.extend_from_slice(&event.key.to_be_bytes());
    }

    fn keys(&self, event: &TallyEvent, wanted: &mut TallyKeys) {
        wanted.0.insert(event.key);
    }

    async fn work(
        &self,
        event: &TallyEvent,
        known: &TallyContext,
        out: &mut Out<'_, Self::Rows>,
    ) -> Result<Outcome, Unworked> {
        assert!(known.keys > 0, "a key that was wanted was looked up");
        let row = TallyRow { key: event.key, number: event.number };
        let waits = *self.waits.lock().expect("no test panics here");
        waits.wait(event.key, &self.waiting, &self.turnstile).await?;
        if self.failing.lock().expect("no test panics here").contains(&event.key) {
            return Err(RetryLater::new("failing", format!("key {}", event.key)).into());
        }
        self.worked.lock().expect("no test panics here").push((event.key, event.number));
        if self.publishing.load(SeqCst) {
            for part in ["a", "b"] {
                let message = Message::to("tallied").key(event.key.to_be_bytes());
                out.publish(message.value(format!("{}.{part}", event.number)));
            }
        }
        match event.number {
            -1 => {
                out.save(&row);
                panic!("number -1");
            }
            -2 => {
                out.save(&row);
                Err(Reject::new("number", "-2 is refused").into())
            }
            -3 => Ok(Outcome::Skip("number -3")),
            _ => Ok(out.save(&row)),
        }
    }
}
