//! What is to be measured: a case, or several that differ in one number.

use serde::Serialize;

use super::modes::{Mode, Shape};
use super::settings::Settings;
use crate::config::{Config, ConfigError, Kind};

/// Everything that was asked for.
pub(crate) struct Plan {
    /// What is measured.
    pub(crate) mode: &'static dyn Mode,
    /// How often, each time all ways in turn.
    pub(crate) rounds: u32,
    /// The case; for scaling runs, what they have in common.
    pub(crate) case: Case,
    /// Keys of the measured service's configuration, with values.
    pub(crate) set: Vec<(String, String)>,
    /// Seconds that records are fed at each rate to measure latency; `None`: it is not measured.
    pub(crate) latency_seconds: Option<u32>,
    /// What to vary, through which values.
    pub(crate) scale: Option<(Scale, Vec<u64>)>,
}

/// One set of conditions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Case {
    /// Records in the topic.
    pub(crate) records: u64,
    /// Partitions of the topic.
    pub(crate) partitions: i32,
    /// Saving connections, of the service and of the bare ways.
    pub(crate) connections: usize,
    /// Records of a partition's batch, and rows of a bare transaction; `None`: the default.
    pub(crate) batch: Option<u64>,
    /// Rows that are in the table before.
    pub(crate) table_rows: u64,
    /// What the records look like.
    #[serde(flatten)]
    pub(crate) shape: Shape,
}

/// What scaling runs vary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scale {
    /// Saving connections
    Connections,
    /// Partitions of the topic
    Partitions,
    /// Records of a batch
    Batch,
    /// Bytes of a record
    Record,
    /// Rows that are in the table before
    Table,
    /// Rows of reference data that records refer to
    Context,
}

/// A scaling run with records of this size has as many of them as fit into here.
const RECORD_BYTES_IN_ALL: u64 = 1024 * 1024 * 1024;

impl Scale {
    /// The values that it goes through unless told otherwise.
    pub(crate) fn values(self) -> &'static [u64] {
        match self {
            Self::Connections => &[1, 2, 3, 4],
            Self::Partitions => &[1, 4, 16, 64],
            Self::Batch => &[100, 1_000, 5_000, 10_000, 20_000],
            Self::Record => &[100, 1_000, 10_000, 100_000],
            Self::Table => &[0, 10_000_000],
            Self::Context => &[10_000, 5_000_000],
        }
    }

    /// What a value of it is called.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Partitions => "partitions",
            Self::Batch => "records a batch",
            Self::Record => "bytes a record",
            Self::Table => "rows before",
            Self::Context => "context rows",
        }
    }

    fn apply(self, case: &Case, value: u64) -> Case {
        let mut case = case.clone();
        match self {
            Self::Connections => case.connections = usize::try_from(value).unwrap_or(usize::MAX),
            Self::Partitions => case.partitions = i32::try_from(value).unwrap_or(i32::MAX),
            Self::Batch => case.batch = Some(value),
            Self::Record => {
                case.shape.record_bytes = usize::try_from(value).unwrap_or(usize::MAX);
                case.records = case.records.min(RECORD_BYTES_IN_ALL / value.max(1)).max(1);
            }
            Self::Table => case.table_rows = value,
            Self::Context => case.shape.context = value,
        }
        case
    }
}

impl Plan {
    /// The cases in turn, each with the value that makes it differ.
    pub(super) fn cases(&self) -> Vec<(Option<u64>, Case)> {
        match &self.scale {
            None => vec![(None, self.case.clone())],
            Some((scale, values)) => {
                let case = |value: &u64| (Some(*value), scale.apply(&self.case, *value));
                values.iter().map(case).collect()
            }
        }
    }

    /// The measured service's configuration for a case, apart from servers, topic and group.
    pub(crate) fn settings(&self, case: &Case) -> Settings {
        let pipeline = self.mode.pipeline();
        let key = |key: &str| format!("pipelines.{pipeline}.{key}");
        let mut settings = Settings::default()
            .text("http.listen", "127.0.0.1:0")
            .toml("database.connections", &case.connections.to_string())
            .text(&key("start"), "earliest");
        for (name, value) in self.mode.settings() {
            settings = settings.toml(&key(name), value);
        }
        if let Some(records) = case.batch {
            settings = settings.toml(&key("batch.records"), &records.to_string());
        }
        let written =
            |settings: Settings, (key, value): &(String, String)| settings.written(key, value);
        self.set.iter().fold(settings, written)
    }

    /// The same as the service will understand it. Servers, topic and group are made up.
    ///
    /// # Errors
    /// What is wrong with a setting.
    pub(crate) fn config(&self, case: &Case, kinds: &[Kind]) -> Result<Config, ConfigError> {
        let topics = format!("pipelines.{}.topics", self.mode.pipeline());
        let settings = self.settings(case).text("database.url", "postgres://host/db");
        settings.toml(&topics, "[\"longshore.bench\"]").build(kinds)
    }

    /// Checks the settings of all cases.
    ///
    /// # Errors
    /// What is wrong with a setting of a case.
    pub(crate) fn check(&self, kinds: &[Kind]) -> Result<(), ConfigError> {
        for (_, case) in self.cases() {
            self.config(&case, kinds)?;
        }
        Ok(())
    }
}
