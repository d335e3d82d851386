//! The consumer thread from outside: what it is made with, how it is started, drained, and how it
//! ended. What it does is in [`super::consumer_loop`].

use std::collections::BTreeMap;
use std::io;
use std::mem;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use longshore_actors::door::Front;
use longshore_actors::format::Format;
use rdkafka::consumer::{BaseConsumer, Consumer};
use thiserror::Error;
use tokio::sync::watch;

use super::commit::Commits;
use super::consumer_loop;
use super::properties::{self, PropertyError, Settings};
use super::read_rules::ReadRules;
use super::rebalance::{Assigned, Rebalancer};
use super::source::{Command, Commands};
use super::status::ConsumerStatus;

/// What a batch of one partition holds at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Records.
    pub records: usize,
    /// Bytes of keys, values and headers; a record that is larger makes a batch of its own.
    pub bytes: usize,
    /// How long a batch that is not full waits for more, from its first record on.
    pub linger: Duration,
}

/// When saved offsets are committed to Kafka too: whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitLimits {
    /// After so long.
    pub interval: Duration,
    /// After about so many records.
    pub records: u64,
}

/// What a consumer thread is made with.
#[derive(Clone, Debug)]
pub struct ConsumerParams {
    /// The pipeline's name, for the thread's.
    pub pipeline: String,
    /// The topics to read.
    pub topics: Vec<String>,
    /// The consumer group.
    pub group: String,
    /// The brokers to begin with.
    pub brokers: String,
    /// The user's own librdkafka properties.
    pub properties: BTreeMap<String, String>,
    /// How the values are written.
    pub format: Format,
    /// The batches of a partition.
    pub batch: BatchLimits,
    /// How many batches of a partition the house holds at most.
    pub batches_ahead: usize,
    /// Kafka's own committed offsets.
    pub commit: CommitLimits,
    /// What librdkafka's fetch queues may hold together.
    pub fetch_budget_bytes: u64,
    /// How many partitions share the fetch budget: those of all topics, if one member may get all.
    pub partitions: u32,
    /// How long a revoke waits for the batches in hand.
    pub revoke_wait: Duration,
}

/// Why there is no consumer, or none any more.
#[derive(Clone, Debug, Error)]
pub enum ConsumerError {
    /// A property is refused.
    #[error(transparent)]
    Property(#[from] PropertyError),
    /// librdkafka makes no consumer of these properties.
    #[error("the kafka consumer cannot be made: {0}")]
    Create(String),
    /// The operating system gives no thread.
    #[error("no thread for the kafka consumer: {0}")]
    Thread(String),
    /// Another owner took partitions over that Kafka still assigns to us; a new one may join anew.
    #[error("{0}")]
    Fenced(String),
    /// The consumer cannot go on; a new one may.
    #[error("the kafka consumer ended: {0}")]
    Fatal(String),
    /// The thread is hung in librdkafka. Its partitions are fenced; end the process.
    #[error("the kafka consumer did not close within {0:?}: end the process, saved data is safe")]
    Hung(Duration),
}

/// How a drained thread ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Batches that were still in the house when the limit was over; 0 means drained.
    pub batches_left: usize,
}

/// How long closing may take on top of the limit of a drain.
const CLOSE_LIMIT: Duration = Duration::from_secs(20);

/// The one thread that owns a consumer.
pub struct ConsumerThread;

impl ConsumerThread {
    /// Starts the thread: it joins the group, asks `front` for a door a partition, and writes to
    /// `status` what it does.
    ///
    /// # Errors
    /// If a property is refused or there is no consumer or thread to be had. Brokers that are away
    /// are no error: they are waited for.
    pub fn spawn(
        params: &ConsumerParams,
        front: Arc<dyn Front>,
        commands: Commands,
        status: ConsumerStatus,
    ) -> Result<ConsumerHandle, ConsumerError> {
        let consumer = subscribe(params, front, status.clone())?;
        let (ended, end) = watch::channel(None);
        let rules = rules(params, consumer.context().front.as_ref());
        let (receiver, context) = (commands.receiver, consumer.context().clone());
        thread::Builder::new()
            .name(format!("longshore-consumer-{}", params.pipeline))
            .spawn(move || {
                let outcome = consumer_loop::run(consumer, &receiver, rules);
                ended.send_replace(Some(outcome));
            })
            .map_err(|error: io::Error| ConsumerError::Thread(error.to_string()))?;
        Ok(ConsumerHandle { commands: commands.sender, context, status, end })
    }
}

fn subscribe(
    params: &ConsumerParams,
    front: Arc<dyn Front>,
    status: ConsumerStatus,
) -> Result<BaseConsumer<Rebalancer>, ConsumerError> {
    let settings = Settings {
        brokers: &params.brokers,
        group: &params.group,
        user: &params.properties,
        fetch_budget_bytes: params.fetch_budget_bytes,
        partitions: params.partitions,
        linger: params.batch.linger,
    };
    let context = Rebalancer {
        front,
        protocol: properties::protocol(&params.properties),
        revoke_wait: params.revoke_wait,
        status,
        commits: Mutex::new(Commits::new(params.commit)),
        state: Mutex::new(Assigned::default()),
    };
    let refused = |error| match properties::translate(&error) {
        Some(property) => ConsumerError::Property(property),
        None => ConsumerError::Create(error.to_string()),
    };
    let consumer: BaseConsumer<_> =
        properties::consumer(&settings)?.create_with_context(context).map_err(refused)?;
    let topics: Vec<_> = params.topics.iter().map(String::as_str).collect();
    consumer.subscribe(&topics).map_err(refused)?;
    Ok(consumer)
}

/// No batch may ask for more than there is at all, or it would wait for ever.
fn rules(params: &ConsumerParams, front: &dyn Front) -> ReadRules {
    let most = front.budget().limits();
    let at_most = |wanted: usize, most: u64| wanted.min(usize::try_from(most).unwrap_or(wanted));
    let limits = BatchLimits {
        records: at_most(params.batch.records, most.records).max(1),
        bytes: at_most(params.batch.bytes, most.bytes).max(1),
        linger: params.batch.linger,
    };
    let batches_ahead = params.batches_ahead.max(1);
    ReadRules { limits, batches_ahead, format: params.format, together: false }
}

/// A running consumer thread. Dropped, it closes at once, without waiting for what is in hand.
pub struct ConsumerHandle {
    commands: Sender<Command>,
    context: Arc<Rebalancer>,
    status: ConsumerStatus,
    end: watch::Receiver<Option<Result<Drained, ConsumerError>>>,
}

impl ConsumerHandle {
    /// What the thread is doing.
    pub fn status(&self) -> &ConsumerStatus {
        &self.status
    }

    /// Reads nothing more, waits at most `limit` for what is in the house, leaves the group and
    /// closes.
    ///
    /// # Errors
    /// If the consumer had ended by an error before, or hangs.
    pub async fn drain(&self, limit: Duration) -> Result<Drained, ConsumerError> {
        // A thread that is gone has ended before: its end says how.
        let _ = self.commands.send(Command::Drain { limit });
        let longest = limit + CLOSE_LIMIT;
        let ended = tokio::time::timeout(longest, self.finished()).await;
        ended.unwrap_or(Err(ConsumerError::Hung(longest)))
    }

    /// Lets go of all partitions in the place of a thread that hangs. Should it come back, it
    /// closes.
    pub(super) fn abandon(&self) {
        let doors = mem::take(&mut self.context.assigned().doors);
        doors.values().for_each(|door| door.close());
    }

    /// Waits until the thread ends, drained or not.
    ///
    /// # Errors
    /// If it ended by an error of the consumer.
    pub async fn finished(&self) -> Result<Drained, ConsumerError> {
        let mut end = self.end.clone();
        match end.wait_for(Option::is_some).await {
            Ok(ended) => ended.clone().expect("it was waited for"),
            Err(_) => Err(ConsumerError::Fatal("its thread panicked".into())),
        }
    }
}

impl Drop for ConsumerHandle {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Drain { limit: Duration::ZERO });
    }
}
