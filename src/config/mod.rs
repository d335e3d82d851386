//! The configuration: validated and typed, so that nobody behind this module checks again.
//! [`Layers`] gathers what is written, [`Layers::build`] makes a [`Config`] of it or says all that
//! is wrong. `docs/configuration.md` tells the same to users.

mod check;
mod environment;
mod error;
mod landing;
mod layers;
mod memory;
mod pace;
mod pipeline;
mod raw;
mod secret;
#[cfg(test)]
mod tests;
mod values;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use bytesize::ByteSize;
use longshore_actors::pace::PaceRules;
use longshore_actors::ticket::BudgetLimits;

pub use self::error::{ConfigError, Problem};
pub use self::landing::{ColumnForm, DEFAULT_TABLE, LandingConfig, default_table};
pub use self::layers::Layers;
use self::memory::Share;
pub use self::pace::PaceConfig;
pub use self::pipeline::{BatchLimits, Kind, PipelineConfig};
pub use self::secret::Secret;
pub use crate::postgres::budget::DeadLetterBudget;

/// A whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The memory of all pipelines together, in bytes; see [`Config::tickets`].
    pub memory_bytes: u64,
    /// WorkerActors of each pipeline, at least 1.
    pub workers: usize,
    /// How long a drain may take before what is left in the house is given up.
    pub drain_limit: Duration,
    /// How to reach Kafka.
    pub kafka: KafkaConfig,
    /// How to reach PostgreSQL.
    pub database: DatabaseConfig,
    /// The page, health and metrics.
    pub http: HttpConfig,
    /// The pipelines, by name.
    pub pipelines: Vec<PipelineConfig>,
    kinds: Vec<&'static str>,
}

/// How to reach Kafka.
#[derive(Clone, Debug)]
pub struct KafkaConfig {
    /// `host:port`, several with commas between.
    pub brokers: String,
    /// librdkafka's own properties. Which of them are refused is the Kafka edge's to say.
    pub properties: KafkaProperties,
    /// When Kafka's own committed offset follows the stored one.
    pub commit: CommitConfig,
}

/// librdkafka's properties by name; prints with secret ones masked.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct KafkaProperties(BTreeMap<String, String>);

impl KafkaProperties {
    /// The properties, in order of their names, secrets in clear.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The properties by name, secrets in clear: for the Kafka edge alone.
    pub fn to_map(&self) -> BTreeMap<String, String> {
        self.0.clone()
    }

    /// The value of one property, in clear.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl FromIterator<(String, String)> for KafkaProperties {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(properties: I) -> Self {
        Self(properties.into_iter().collect())
    }
}

impl fmt::Debug for KafkaProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown =
            |(name, value)| (name, if secret::is_secret_property(name) { "***" } else { value });
        f.debug_map().entries(self.iter().map(shown)).finish()
    }
}

/// When Kafka's own committed offset is written, for lag tools: whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitConfig {
    /// This long after the last time.
    pub interval: Duration,
    /// When this many records of a pipeline were settled since.
    pub records: u64,
}

/// How to reach PostgreSQL.
#[derive(Clone, Debug)]
pub struct DatabaseConfig {
    /// The URL, as written; prints with its password masked.
    pub url: Secret,
    /// The password from `password_file`, for a URL that has none.
    pub password: Option<Secret>,
    /// Saving connections of each pipeline, at least 1.
    pub connections: usize,
    /// The longest that the server may work on one statement.
    pub statement_timeout: Duration,
}

/// The page, health and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// Where they are served; `None` for nowhere.
    pub listen: Option<SocketAddr>,
}

impl Config {
    /// The same configuration with the named pipelines alone, all of them if none is named. The
    /// memory is then shared by these.
    ///
    /// # Errors
    /// A name that is not configured, or no pipeline at all.
    pub fn select(mut self, names: &[String]) -> Result<Self, ConfigError> {
        let configured = || self.pipelines.iter().map(|pipeline| pipeline.name.clone());
        if let Some(name) = names.iter().find(|&name| configured().all(|other| other != *name)) {
            let configured = configured().collect();
            return Err(ConfigError::UnknownPipeline { name: name.clone(), configured });
        }
        self.pipelines.retain(|pipeline| names.is_empty() || names.contains(&pipeline.name));
        match self.pipelines.is_empty() {
            true => Err(ConfigError::NoPipelines { kinds: self.kinds }),
            false => Ok(self),
        }
    }

    /// The tickets of each pipeline: an equal share of `memory`, of which a quarter is the
    /// tickets' bytes and a half, at 512 bytes a record, their records.
    pub fn tickets(&self) -> BudgetLimits {
        self.share().tickets()
    }

    /// The bytes that a pipeline's fetch queues may hold, all partitions together: a quarter of
    /// its share of `memory`, or less.
    pub fn fetch_queue_bytes(&self) -> u64 {
        self.share().fetch_queue_bytes()
    }

    /// The bounds of a batch of `pipeline`: as configured, but at most half of its tickets.
    pub fn batch(&self, pipeline: &PipelineConfig) -> BatchLimits {
        let (share, written) = (self.share(), pipeline.batch);
        BatchLimits {
            records: written.records.min(share.batch_records_max()),
            bytes: written.bytes.min(share.batch_bytes_max()),
            linger: written.linger,
        }
    }

    /// What the pace of `pipeline` is held to.
    pub fn pace(&self, pipeline: &PipelineConfig) -> PaceRules {
        pipeline.pace.rules(&pipeline.batch, self.database.connections)
    }

    /// What works, but not as written: a line for each, worth a warning at start.
    pub fn notes(&self) -> Vec<String> {
        self.pipelines.iter().flat_map(|pipeline| self.clamp_notes(pipeline)).collect()
    }

    fn clamp_notes(&self, pipeline: &PipelineConfig) -> Vec<String> {
        let (written, batch) = (pipeline.batch, self.batch(pipeline));
        let default = BatchLimits::default();
        let note = |key: &str, written: String, used: String| {
            format!(
                "pipelines.{}.batch.{key} = {written} is cut to {used}, half of the pipeline's \
                 tickets: memory = \"{}\" is shared by {}",
                pipeline.name,
                size(self.memory_bytes),
                self.pipelines.len(),
            )
        };
        let mut notes = Vec::new();
        // The defaults are cut in silence: nobody asked for them.
        if batch.records < written.records && written.records != default.records {
            notes.push(note("records", written.records.to_string(), batch.records.to_string()));
        }
        if batch.bytes < written.bytes && written.bytes != default.bytes {
            let quoted = |bytes| format!("\"{}\"", size(bytes));
            notes.push(note("bytes", quoted(written.bytes), quoted(batch.bytes)));
        }
        notes
    }

    fn share(&self) -> Share {
        Share::new(self.memory_bytes, self.pipelines.len())
    }
}

fn size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}
