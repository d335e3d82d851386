//! The append pipeline: every record becomes one row of a table without any key, in the order of
//! its key, and may be announced to a topic. Some records are poison.

use std::borrow::Cow;
use std::hint::black_box;
use std::sync::atomic::{AtomicI64, Ordering};

use longshore::postgres::migrate::MigrationSet;
use longshore::service::PostgresPipeline;
use longshore_actors::error::{Reject, Unworked};
use longshore_actors::message::Message;
use longshore_actors::pipeline::{Out, Outcome, Pipeline};
use longshore_actors::record::{Record, Unparsed};
use serde::{Deserialize, Serialize};

use super::tables::Appended;

/// What a record does to those who work it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Poison {
    /// It is rejected.
    Reject,
    /// `work` panics.
    Panic,
    /// The process aborts.
    Abort,
    /// The stack overflows, which ends the process, too.
    Overflow,
}

/// What a record says.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Said<'a> {
    /// Its topic.
    #[serde(borrow)]
    pub topic: Cow<'a, str>,
    /// Its partition.
    pub partition: i32,
    /// Its offset, which its sender cannot know.
    #[serde(skip)]
    pub offset: i64,
    /// Its key.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// Its number among those of its key.
    pub sequence: i64,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poison: Option<Poison>,
    /// The topic that its sequence is announced to.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub announce: Option<Cow<'a, str>>,
}

/// The pipeline.
#[derive(Debug)]
pub struct Append;

impl Pipeline for Append {
    const NAME: &'static str = "append";
    type Event<'a> = Said<'a>;
    type Context = ();
    type Rows = (Appended<'static>,);

    fn parse<'a>(&self, record: &Record<'a>) -> Result<Said<'a>, Unparsed> {
        let said = record.decode::<Said<'a>>()?;
        Ok(Said { offset: record.offset.0, ..said })
    }

    fn keys(&self, _said: &Said<'_>, (): &mut ()) {}

    async fn work(
        &self,
        said: &Said<'_>,
        (): &(),
        out: &mut Out<'_, Self::Rows>,
    ) -> Result<Outcome, Unworked> {
        if let Some(topic) = &said.announce {
            let message = Message::to(topic.to_string()).key(said.key.as_bytes());
            out.publish(message.value(said.sequence.to_string()));
        }
        match said.poison {
            None => {}
            Some(Poison::Reject) => return Err(Reject::new("poison", said.key.clone()).into()),
            Some(Poison::Panic) => panic!("poison: {}", said.key),
            Some(Poison::Abort) => std::process::abort(),
            Some(Poison::Overflow) => {
                black_box(overflow(0));
            }
        }
        static WORKED: AtomicI64 = AtomicI64::new(0);
        Ok(out.save(&Appended {
            topic: &said.topic,
            partition: said.partition,
            offset: said.offset,
            key: &said.key,
            sequence: said.sequence,
            process: i64::from(std::process::id()),
            worked: WORKED.fetch_add(1, Ordering::SeqCst),
        }))
    }
}

/// Calls itself until no stack is left; what it adds up keeps the compiler from making it a loop.
fn overflow(depth: u64) -> u64 {
    let frame = black_box([depth; 256]);
    if depth == u64::MAX { 0 } else { overflow(depth + 1) + frame[255] }
}

impl PostgresPipeline for Append {
    const MIGRATIONS: MigrationSet =
        MigrationSet::new("append", diesel_migrations::embed_migrations!("migrations"));
}
