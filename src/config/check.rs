//! From what is written to what is right: ranges, and the relations between keys. All problems are
//! gathered, so that one start tells them all.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::thread::available_parallelism;
use std::time::Duration;

use bytesize::ByteSize;

use super::error::{ConfigError, Problem};
use super::layers::Layers;
use super::memory::Share;
use super::pace;
use super::pipeline::{self, Kind, PipelineConfig};
use super::raw::{RawCommit, RawConfig, RawDatabase, RawHttp, RawKafka};
use super::secret::{Secret, has_password};
use super::values::Written;
use super::{CommitConfig, Config, DatabaseConfig, HttpConfig, KafkaConfig, size};

const MEMORY_BYTES: u64 = 64 * 1024 * 1024;
const BROKERS: &str = "127.0.0.1:9092";
const LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);
const DRAIN_LIMIT: Duration = Duration::from_secs(30);
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
const COMMIT: CommitConfig = CommitConfig { interval: Duration::from_secs(5), records: 100_000 };
const CONNECTIONS: u64 = 4;

/// The longest of all durations here: more is a slip of the unit.
const HOUR: Duration = Duration::from_secs(3600);

/// A key, table by table.
pub(super) type Key<'a> = &'a [&'a str];

impl Layers {
    /// Reads and checks all layers. `kinds` are the kinds of pipelines that this program has.
    ///
    /// # Errors
    /// All keys that are unknown, have a wrong value or do not fit together.
    pub fn build(&self, kinds: &[Kind]) -> Result<Config, ConfigError> {
        let raw = self.extract()?;
        let mut checks = Checks { layers: self, problems: Vec::new() };
        let config = check(&mut checks, raw, kinds);
        match (config, checks.problems) {
            (Some(config), problems) if problems.is_empty() => Ok(config),
            (_, problems) => Err(ConfigError::Keys(problems)),
        }
    }
}

/// The problems found so far.
pub(super) struct Checks<'a> {
    layers: &'a Layers,
    problems: Vec<Problem>,
}

impl Checks<'_> {
    /// Notes what is wrong with the value at `key`.
    pub(super) fn refuse(&mut self, key: Key<'_>, text: &str) {
        self.problems.push(self.layers.problem(key, text.to_owned()));
    }

    pub(super) fn count(
        &mut self,
        key: Key<'_>,
        written: Option<Written<u64>>,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> u64 {
        self.within(key, written.map(|written| written.0), default, range, |count| {
            count.to_string()
        })
    }

    /// A size, in bytes.
    pub(super) fn size(
        &mut self,
        key: Key<'_>,
        written: Option<Written<ByteSize>>,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> u64 {
        self.within(key, written.map(|written| written.0.0), default, range, |bytes| size(*bytes))
    }

    pub(super) fn duration(
        &mut self,
        key: Key<'_>,
        written: Option<Written<Duration>>,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        let text = |duration: &Duration| humantime::format_duration(*duration).to_string();
        self.within(key, written.map(|written| written.0), default, range, text)
    }

    fn within<T: PartialOrd>(
        &mut self,
        key: Key<'_>,
        written: Option<T>,
        default: T,
        range: RangeInclusive<T>,
        text: impl Fn(&T) -> String,
    ) -> T {
        let value = written.unwrap_or(default);
        if !range.contains(&value) {
            let (least, most) = (text(range.start()), text(range.end()));
            self.refuse(key, &format!("must be from {least} to {most}"));
        }
        value
    }
}

fn check(checks: &mut Checks<'_>, raw: RawConfig, kinds: &[Kind]) -> Option<Config> {
    let workers = available_parallelism().map_or(1, |cores| cores.get() as u64);
    let seconds = Duration::from_secs(1)..=HOUR;
    let memory_bytes = raw.memory.map_or(MEMORY_BYTES, |memory| memory.0.0);
    let pipelines: Vec<PipelineConfig> = raw
        .pipelines
        .into_iter()
        .filter_map(|(name, raw)| pipeline::check(checks, &name, raw, kinds))
        .collect();
    check_memory(checks, memory_bytes, pipelines.len());
    check_shared_topics(checks, &pipelines);
    let workers = checks.count(&["workers"], raw.workers, workers, 1..=1024);
    let drain_limit = checks.duration(&["drain_limit"], raw.drain_limit, DRAIN_LIMIT, seconds);
    let kafka = check_kafka(checks, raw.kafka);
    let http = check_http(checks, raw.http);
    let database = check_database(checks, raw.database);
    if let Some(database) = &database {
        pace::check_connections(checks, &pipelines, database.connections);
    }
    Some(Config {
        memory_bytes,
        workers: usize::try_from(workers).unwrap_or(usize::MAX),
        drain_limit,
        kafka,
        database: database?,
        http,
        pipelines,
        kinds: kinds.iter().map(|kind| kind.name).collect(),
    })
}

fn check_memory(checks: &mut Checks<'_>, memory_bytes: u64, num_pipelines: usize) {
    if !Share::new(memory_bytes, num_pipelines).is_enough() {
        let each = Share::min();
        let least = size(each * (num_pipelines as u64).max(1));
        let text = format!(
            "{num_pipelines} pipelines share it, {} each at least: write \"{least}\" or more",
            size(each)
        );
        checks.refuse(&["memory"], &text);
    }
}

/// A topic read twice in one group would be assigned to one reader or the other at random.
fn check_shared_topics(checks: &mut Checks<'_>, pipelines: &[PipelineConfig]) {
    let mut readers = BTreeMap::new();
    for pipeline in pipelines {
        for topic in &pipeline.topics {
            let first = *readers.entry((&pipeline.group, topic)).or_insert(&pipeline.name);
            if *first != pipeline.name {
                let text = format!(
                    "pipelines.{first} reads {topic:?} in the same group, {:?}; \
                     give one of them another group",
                    pipeline.group
                );
                checks.refuse(&["pipelines", &pipeline.name, "topics"], &text);
            }
        }
    }
}

fn check_kafka(checks: &mut Checks<'_>, raw: RawKafka) -> KafkaConfig {
    let brokers = raw.brokers.map_or(vec![BROKERS.to_owned()], |list| list.0);
    if brokers.is_empty() || brokers.iter().any(|broker| broker.trim().is_empty()) {
        checks.refuse(&["kafka", "brokers"], "must be host:port, or several with commas between");
    }
    let RawCommit { interval, records } = raw.commit;
    let key = |key| ["kafka", "commit", key];
    let intervals = Duration::from_millis(100)..=HOUR;
    KafkaConfig {
        brokers: brokers.join(","),
        properties: raw.properties.into_iter().map(|(name, value)| (name, value.0)).collect(),
        commit: CommitConfig {
            interval: checks.duration(&key("interval"), interval, COMMIT.interval, intervals),
            records: checks.count(&key("records"), records, COMMIT.records, 1..=1_000_000_000),
        },
    }
}

fn check_http(checks: &mut Checks<'_>, raw: RawHttp) -> HttpConfig {
    let Some(text) = raw.listen else { return HttpConfig { listen: Some(LISTEN) } };
    if text == "off" {
        return HttpConfig { listen: None };
    }
    let listen = text.replace("localhost:", "127.0.0.1:").parse();
    if listen.is_err() {
        let text = "must be an address and a port, such as \"127.0.0.1:8080\" or \"[::]:8080\", \
                    or \"off\"";
        checks.refuse(&["http", "listen"], text);
    }
    HttpConfig { listen: listen.ok() }
}

fn check_database(checks: &mut Checks<'_>, raw: RawDatabase) -> Option<DatabaseConfig> {
    let key = |key| ["database", key];
    let url = check_url(checks, raw.url);
    let password = raw.password_file.and_then(|path| read_password(checks, &path));
    if password.is_some() && url.as_ref().is_some_and(|url| has_password(url.expose())) {
        let text = "database.url brings a password of its own; keep one of the two";
        checks.refuse(&key("password_file"), text);
    }
    let connections = checks.count(&key("connections"), raw.connections, CONNECTIONS, 1..=1000);
    let timeouts = Duration::from_secs(1)..=HOUR;
    let timeout = raw.statement_timeout;
    let statement_timeout =
        checks.duration(&key("statement_timeout"), timeout, STATEMENT_TIMEOUT, timeouts);
    let connections = usize::try_from(connections).unwrap_or(usize::MAX);
    url.map(|url| DatabaseConfig { url, password, connections, statement_timeout })
}

/// Only the scheme is judged here; the rest is the PostgreSQL edge's, which knows what it honours.
fn check_url(checks: &mut Checks<'_>, url: Option<String>) -> Option<Secret> {
    let Some(url) = url else {
        let text = "must be set, to postgres://user@host/db: in the file, as DATABASE_URL, or by \
                    --database-url";
        checks.refuse(&["database", "url"], text);
        return None;
    };
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        checks.refuse(&["database", "url"], "must begin with postgres:// or postgresql://");
    }
    Some(Secret::url(url))
}

fn read_password(checks: &mut Checks<'_>, path: &str) -> Option<Secret> {
    let problem = match fs::read_to_string(path) {
        Ok(text) => match text.trim_end_matches(['\r', '\n']) {
            "" => "the file is empty".to_owned(),
            password => return Some(Secret::new(password)),
        },
        Err(error) => format!("cannot be read: {error}"),
    };
    checks.refuse(&["database", "password_file"], &problem);
    None
}
