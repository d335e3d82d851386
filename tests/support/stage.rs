//! All that one promise needs, on its own: a database, a topic, reference data, the service.

use std::path::PathBuf;

use tempfile::TempDir;

use super::database::Database;
use super::expect::{self, Source};
use super::model::Model;
use super::records::{Draft, Generator, Mix, Sent};
use super::reference::Reference;
use super::servers::{Servers, servers};
use super::service::{Process, Service};
use super::topics::Topic;

/// How many advertisers there are; each has five campaigns.
const ADVERTISERS: i64 = 200;

/// What a promise is tried on. Everything in it is gone when it is dropped.
pub(crate) struct Stage {
    pub(crate) servers: Servers,
    pub(crate) database: Database,
    pub(crate) topic: Topic,
    pub(crate) reference: Reference,
    pub(crate) group: String,
    directory: TempDir,
}

impl Stage {
    /// A migrated database with reference data, and an empty topic; `None`, after saying so, if
    /// there are no servers.
    pub(crate) fn set(partitions: i32) -> Option<Self> {
        Self::with_topic(partitions, &[])
    }

    /// The same with settings of the topic, such as its compaction.
    pub(crate) fn with_topic(partitions: i32, settings: &[(&str, &str)]) -> Option<Self> {
        let stage = Self::empty(partitions, settings)?;
        stage.service().migrate();
        stage.reference.load(&stage.database);
        Some(stage)
    }

    /// The same with another number of advertisers.
    pub(crate) fn sized(partitions: i32, advertisers: i64) -> Option<Self> {
        let mut stage = Self::empty(partitions, &[])?;
        stage.reference = Reference::of_size(advertisers);
        stage.service().migrate();
        stage.reference.load(&stage.database);
        Some(stage)
    }

    /// The same with an empty database.
    pub(crate) fn empty(partitions: i32, settings: &[(&str, &str)]) -> Option<Self> {
        Some(Self::on(servers()?, partitions, settings))
    }

    /// An empty database and an empty topic on these servers.
    pub(crate) fn on(servers: Servers, partitions: i32, settings: &[(&str, &str)]) -> Self {
        let database = Database::fresh(&servers);
        let topic = Topic::fresh(&servers.brokers, partitions, settings);
        Self {
            group: format!("group.of.{}", topic.name),
            reference: Reference::of_size(ADVERTISERS),
            directory: TempDir::new().expect("a directory"),
            servers,
            database,
            topic,
        }
    }

    /// The service with a usual configuration for the stage's topic.
    pub(crate) fn service(&self) -> Service {
        let quoted = |text: &str| format!("\"{text}\"");
        self.bare_service()
            .set("kafka", "brokers", &quoted(&self.servers.brokers))
            .set("database", "url", &quoted(&self.database.url))
            .set("pipelines.ads", "topics", &format!("[{}]", quoted(&self.topic.name)))
            .set("pipelines.ads", "group", &quoted(&self.group))
            .set("pipelines.ads", "order", "\"unordered\"")
            .set("http", "listen", "\"127.0.0.1:0\"")
    }

    /// The service with small batches and few connections, so that the middle of its work lasts.
    pub(crate) fn slow_service(&self) -> Service {
        self.service().set("pipelines.ads.batch", "records", "200").set(
            "database",
            "connections",
            "1",
        )
    }

    /// The service without any configuration.
    pub(crate) fn bare_service(&self) -> Service {
        Service::bare(self.directory.path())
    }

    /// A file with this content, beside the service's.
    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, content).expect("the file is written");
        path
    }

    /// A generator for the stage's topic.
    pub(crate) fn generator(&self, seed: u64, mix: Mix) -> Generator {
        Generator::new(seed, self.topic.partitions(), mix, &self.reference)
    }

    /// Makes records, sends them, and gives them with their offsets.
    pub(crate) fn send(&self, seed: u64, mix: Mix, count: usize) -> Vec<Sent> {
        self.topic.send(self.generator(seed, mix).records(count))
    }

    /// Sends `drafts` behind what was sent before.
    pub(crate) fn send_more(&self, sent: &mut Vec<Sent>, drafts: Vec<Draft>) {
        sent.extend(self.topic.send(drafts));
    }

    /// How far the stored offsets of all partitions have come, added up.
    pub(crate) fn settled(&self) -> i64 {
        self.database.number("select sum(next_offset)::bigint from longshore.offsets")
    }

    /// How many different owners hold partitions.
    pub(crate) fn owners(&self) -> i64 {
        self.database.number("select count(distinct owner) from longshore.offsets")
    }

    /// Waits until a running service has settled everything up to the end of every partition.
    pub(crate) fn await_end(&self, process: &mut Process) {
        let end = self.topic.ends().values().sum::<i64>();
        process.runs_until("all records are settled", || self.settled() == end);
    }

    /// Panics unless the database is exactly what must come of `sent`.
    pub(crate) fn exact(&self, sent: &[Sent]) {
        self.exact_model(&Model::of(&self.reference, sent));
    }

    /// Panics unless the database is exactly as `model` says.
    pub(crate) fn exact_model(&self, model: &Model) {
        let ends = self.topic.ends();
        let source = Source { group: &self.group, topic: &self.topic.name, ends: &ends };
        expect::exact(&self.database, source, model);
    }
}
