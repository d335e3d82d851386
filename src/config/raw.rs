//! The configuration as it is written, key by key. Nothing is required and nothing is judged here
//! but the form of single values; a key that is not in these tables is an error.

use std::collections::BTreeMap;
use std::time::Duration;

use bytesize::ByteSize;
use longshore_actors::format::Format;
use longshore_actors::pipeline::Order;
use serde::Deserialize;

use super::landing::ColumnForm;
use super::values::{AgeChoice, BudgetChoice, List, RawProperties, Written};
use crate::positions::StartPosition;

/// The top level. No `Debug` on these: they hold secrets in clear.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawConfig {
    pub(super) memory: Option<Written<ByteSize>>,
    pub(super) workers: Option<Written<u64>>,
    pub(super) drain_limit: Option<Written<Duration>>,
    pub(super) kafka: RawKafka,
    pub(super) database: RawDatabase,
    pub(super) http: RawHttp,
    pub(super) pipelines: BTreeMap<String, RawPipeline>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, written [kafka]")]
pub(super) struct RawKafka {
    pub(super) brokers: Option<List>,
    pub(super) properties: RawProperties,
    pub(super) commit: RawCommit,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, written [kafka.commit]")]
pub(super) struct RawCommit {
    pub(super) interval: Option<Written<Duration>>,
    pub(super) records: Option<Written<u64>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, written [database]")]
pub(super) struct RawDatabase {
    pub(super) url: Option<String>,
    pub(super) password_file: Option<String>,
    pub(super) connections: Option<Written<u64>>,
    pub(super) statement_timeout: Option<Written<Duration>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, written [http]")]
pub(super) struct RawHttp {
    pub(super) listen: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, written [pipelines.NAME]")]
pub(super) struct RawPipeline {
    pub(super) kind: Option<String>,
    pub(super) topics: Option<List>,
    pub(super) group: Option<String>,
    pub(super) order: Option<Order>,
    pub(super) start: StartPosition,
    pub(super) format: Format,
    pub(super) table: Option<String>,
    pub(super) key: Option<ColumnForm>,
    pub(super) value: Option<ColumnForm>,
    pub(super) batch: RawBatch,
    pub(super) pace: RawPace,
    pub(super) max_age: Option<AgeChoice>,
    pub(super) cached_rows: Option<Written<u64>>,
    pub(super) lookups: BTreeMap<String, RawLookup>,
    pub(super) work: RawWork,
    pub(super) retry: RawRetry,
    pub(super) fates: BTreeMap<String, RawFate>,
    pub(super) dead_letter_budget: Option<BudgetChoice>,
    pub(super) dead_letter_topic: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, written [pipelines.NAME.batch]")]
pub(super) struct RawBatch {
    pub(super) records: Option<Written<u64>>,
    pub(super) bytes: Option<Written<ByteSize>>,
    pub(super) linger: Option<Written<Duration>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, written [pipelines.NAME.pace]")]
pub(super) struct RawPace {
    pub(super) adapt: Option<Written<bool>>,
    pub(super) transaction: Option<Written<Duration>>,
    pub(super) linger_min: Option<Written<Duration>>,
    pub(super) records_min: Option<Written<u64>>,
    pub(super) records_max: Option<Written<u64>>,
    pub(super) connections_min: Option<Written<u64>>,
}

#[derive(Default, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a table, written [pipelines.NAME.lookups.LOOKUP]"
)]
pub(super) struct RawLookup {
    pub(super) max_age: Option<AgeChoice>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, written [pipelines.NAME.work]")]
pub(super) struct RawWork {
    pub(super) in_flight: Option<Written<u64>>,
    pub(super) timeout: Option<Written<Duration>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, written [pipelines.NAME.retry]")]
pub(super) struct RawRetry {
    pub(super) first: Option<Written<Duration>>,
    pub(super) max: Option<Written<Duration>>,
    pub(super) attempts: Option<Written<u64>>,
    pub(super) lane_records: Option<Written<u64>>,
}

/// What becomes of a database error.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawFate {
    Retry,
    Reject,
    Stop,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawBudget {
    pub(super) ratio: Option<Written<f64>>,
    pub(super) window: Option<Written<u64>>,
    pub(super) per_minute: Option<Written<u64>>,
}
