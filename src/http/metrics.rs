//! The metrics, in the text form that Prometheus reads.
//!
//! Histograms are written where the work is done, into the process's recorder. Counters and gauges
//! are what the service counts anyway: each scrape takes one snapshot and renders it by a recorder
//! of its own, so that no scrape sees a part of an update, and what is gone leaves no series.

use std::sync::OnceLock;

use longshore_actors::conservation::{Conservation, Settled};
use longshore_actors::publisher::Kind;
use longshore_actors::stages;
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::service::PipelineSnapshot;

/// Upper bounds in seconds: from a fast COMMIT to the statement timeout.
const SECONDS: [f64; 15] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Upper bounds in records.
const RECORDS: [f64; 11] =
    [1.0, 10.0, 100.0, 500.0, 1000.0, 2500.0, 5000.0, 10_000.0, 25_000.0, 100_000.0, 1_000_000.0];

const RECORDS_TOTAL: &str = "longshore_records_total";
const PARKED_SETTLED_TOTAL: &str = "longshore_parked_settled_total";
const IN_FLIGHT_RECORDS: &str = "longshore_in_flight_records";
const LAG_RECORDS: &str = "longshore_lag_records";
const PARKED_RECORDS: &str = "longshore_parked_records";
const ACTOR_RESTARTS_TOTAL: &str = "longshore_actor_restarts_total";
const REBALANCES_TOTAL: &str = "longshore_rebalances_total";
const PUBLISHED_TOTAL: &str = "longshore_published_total";
const PACE_LINGER: &str = "longshore_pace_linger_seconds";
const PACE_RECORDS: &str = "longshore_pace_transaction_records";
const PACE_SESSIONS: &str = "longshore_pace_sessions";
const FENCED_TOTAL: &str = "longshore_fenced_total";

/// What can be started again, so that its series is there before it ever is.
const ACTORS: [&str; 10] = [
    "PartitionActor",
    "ContextLoader",
    "OwnWritesLoader",
    "WorkerPool",
    "WorkerActor",
    "PersisterActor",
    "Acquirer",
    "PositionWatcher",
    "RelayActor",
    "HealthActor",
];

/// Renders metrics. Cheap to clone.
#[derive(Clone)]
pub(super) struct Metrics(Option<&'static PrometheusHandle>);

impl Metrics {
    /// Gathers histograms from now on, once in a process.
    pub(super) fn install() -> Self {
        static HISTOGRAMS: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
        Self(HISTOGRAMS.get_or_init(install_recorder).as_ref())
    }

    /// Adds up what the histograms were given, which takes memory until then.
    pub(super) fn keep_up(&self) {
        if let Some(histograms) = self.0 {
            histograms.run_upkeep();
        }
    }

    /// All metrics, the histograms behind those of `pipelines`.
    pub(super) fn render(&self, pipelines: &[PipelineSnapshot]) -> String {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            describe();
            records(pipelines);
            published(pipelines);
            pace(pipelines);
            totals(pipelines);
        });
        let histograms = self.0.map(PrometheusHandle::render).unwrap_or_default();
        recorder.handle().render() + &histograms
    }
}

fn install_recorder() -> Option<PrometheusHandle> {
    let buckets = |builder: PrometheusBuilder, name: &str, buckets: &[f64]| {
        let name = Matcher::Full(name.to_owned());
        builder.set_buckets_for_metric(name, buckets).expect("there are buckets")
    };
    let builder = buckets(PrometheusBuilder::new(), stages::STAGE_SECONDS, &SECONDS);
    let recorder = buckets(builder, stages::BATCH_RECORDS, &RECORDS).build_recorder();
    let handle = recorder.handle();
    if metrics::set_global_recorder(recorder).is_err() {
        tracing::warn!("this program has a recorder of metrics of its own: histograms go there");
        return None;
    }
    let (seconds, records) = (stages::STAGE_SECONDS, stages::BATCH_RECORDS);
    describe_histogram!(seconds, Unit::Seconds, "What a stage took for a batch");
    describe_histogram!(records, "Records of each batch that was read");
    stages::register();
    Some(handle)
}

fn describe() {
    describe_counter!(RECORDS_TOTAL, "Records by what became of them");
    describe_counter!(PARKED_SETTLED_TOTAL, "Parked records by what became of them later");
    describe_gauge!(IN_FLIGHT_RECORDS, "Records that were read and are not settled");
    describe_gauge!(LAG_RECORDS, "Offsets between the stored one and the end of our partitions");
    describe_gauge!(PARKED_RECORDS, "Parked records in the database");
    describe_counter!(ACTOR_RESTARTS_TOTAL, "Actors that were started again");
    describe_counter!(REBALANCES_TOTAL, "Rebalances of the consumer group that met us");
    describe_counter!(PUBLISHED_TOTAL, "Messages that the brokers acknowledged, by kind");
    describe_gauge!(PACE_LINGER, Unit::Seconds, "How long a batch waits for company just now");
    describe_gauge!(PACE_RECORDS, "Records that a transaction may have just now");
    describe_gauge!(
        PACE_SESSIONS,
        "Connections that save just now: what may, and what is enough for what comes in"
    );
    describe_counter!(FENCED_TOTAL, "Partitions that another owner took while they were ours");
}

fn records(pipelines: &[PipelineSnapshot]) {
    for pipeline in pipelines {
        for (id, counts) in &pipeline.counters {
            let labels = [
                ("pipeline", pipeline.name.clone()),
                ("topic", id.topic.to_string()),
                ("partition", id.index.to_string()),
            ];
            for (outcome, records) in outcomes(counts) {
                let [pipeline, topic, partition] = labels.clone();
                let labels = [pipeline, topic, partition, ("outcome", outcome.to_owned())];
                counter!(RECORDS_TOTAL, &labels).absolute(records);
            }
            gauge!(IN_FLIGHT_RECORDS, &labels).set(counts.in_flight() as f64);
            if let Some(lag) = pipeline.lag(id) {
                gauge!(LAG_RECORDS, &labels).set(lag as f64);
            }
        }
    }
}

/// What was published of each pipeline.
fn published(pipelines: &[PipelineSnapshot]) {
    for pipeline in pipelines {
        for (kind, messages) in pipeline.published {
            let kind = match kind {
                Kind::DeadLetter => "dead_letter",
                Kind::Outbox => "outbox",
            };
            let labels = [("pipeline", pipeline.name.clone()), ("kind", kind.to_owned())];
            counter!(PUBLISHED_TOTAL, &labels).absolute(messages);
        }
    }
}

/// How fast each pipeline goes that runs.
fn pace(pipelines: &[PipelineSnapshot]) {
    for pipeline in pipelines {
        let Some(pace) = pipeline.pace else { continue };
        let labels = [("pipeline", pipeline.name.clone())];
        gauge!(PACE_LINGER, &labels).set(pace.linger.as_secs_f64());
        gauge!(PACE_RECORDS, &labels).set(pace.records as f64);
        gauge!(PACE_SESSIONS, &labels).set(pace.sessions as f64);
    }
}

/// The numbers of one snapshot, by outcome. What is read is said to be their sum with those in
/// flight, so that it holds whatever was counted while the snapshot was taken.
fn outcomes(counts: &Conservation) -> [(&'static str, u64); 6] {
    let (settled, given_up) = (counts.settled, counts.given_up);
    [
        ("read", settled.total() + given_up + counts.in_flight()),
        ("saved", settled.saved),
        ("skipped", settled.skipped),
        ("duplicate", settled.duplicate),
        ("parked", settled.parked),
        ("given_up", given_up),
    ]
}

/// Numbers of all pipelines together.
fn totals(pipelines: &[PipelineSnapshot]) {
    let sum = |of: &dyn Fn(&PipelineSnapshot) -> u64| pipelines.iter().map(of).sum::<u64>();
    let mut later = Settled::default();
    for (_, counts) in pipelines.iter().flat_map(|pipeline| &pipeline.counters) {
        later.add(counts.parked_settled);
    }
    let outcomes = [
        ("saved", later.saved),
        ("skipped", later.skipped),
        ("duplicate", later.duplicate),
        ("dead", later.parked),
    ];
    for (outcome, records) in outcomes {
        counter!(PARKED_SETTLED_TOTAL, "outcome" => outcome).absolute(records);
    }
    for (index, state) in ["retrying", "waiting", "dead"].into_iter().enumerate() {
        let records = sum(&|pipeline| pipeline.parked.by_state()[index].1);
        gauge!(PARKED_RECORDS, "state" => state).set(records as f64);
    }
    for actor in ACTORS {
        let restarts = sum(&|pipeline| pipeline.health.restarts.get(actor).copied().unwrap_or(0));
        counter!(ACTOR_RESTARTS_TOTAL, "actor" => actor).absolute(restarts);
    }
    let consumers = sum(&|pipeline| pipeline.consumer.restarts);
    counter!(ACTOR_RESTARTS_TOTAL, "actor" => "ConsumerThread").absolute(consumers);
    let rebalances = [
        ("assigned", sum(&|pipeline| pipeline.consumer.rebalances_assigned)),
        ("revoked", sum(&|pipeline| pipeline.consumer.rebalances_revoked)),
        ("lost", sum(&|pipeline| pipeline.consumer.rebalances_lost)),
    ];
    for (kind, times) in rebalances {
        counter!(REBALANCES_TOTAL, "kind" => kind).absolute(times);
    }
    counter!(FENCED_TOTAL).absolute(sum(&|pipeline| pipeline.fenced));
}
