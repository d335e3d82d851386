//! Everything that a run is played on: the servers, a link for each instance and server, the
//! instances with their configurations, the topics and the database.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::Subject;
use crate::database::Database;
use crate::instance::{Instance, Program};
use crate::proxy::{Condition, Link, Proxy};
use crate::schedule::Server;
use crate::servers::{Advertised, Servers};
use crate::wait;

/// How long one answer of the brokers may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The group's session timeout in instances: a dead one's partitions are idle for so long.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(4);
/// How long an instance may not poll: shorter than the longest freezes of a schedule.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(6);

/// The way to the database when it is well: one that is not on the same machine. A save takes some
/// round trips, so that there are batches in hand, and transactions begun, whenever a fault comes.
const DATABASE_WELL: Condition =
    Condition::Slow { latency: Duration::from_millis(4), bytes_per_second: 64 * 1024 * 1024 };

/// The same where records are tried one by one, each with about ten round trips: on this machine.
const DATABASE_NEAR: Condition = Condition::Healthy;

/// How many of what there is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// One to three instances.
    pub instances: u32,
    /// One or three brokers.
    pub brokers: u32,
    /// Whether the way to the database is short.
    pub is_near: bool,
}

/// The links of one instance.
struct Links {
    /// One a broker.
    kafka: Vec<Link>,
    database: Link,
}

/// What a run is played on. Dropped in this order: who uses something goes before it.
pub struct Stage {
    /// The instances, by number from 1.
    pub instances: Vec<Instance>,
    links: Vec<Links>,
    database_well: Condition,
    _proxy: Proxy,
    /// The database past all links.
    pub database: Database,
    /// The servers.
    pub servers: Servers,
    /// Where logs are.
    pub directory: PathBuf,
}

impl Stage {
    /// Starts the servers, makes topics and tables. No instance runs yet.
    ///
    /// # Errors
    /// Whatever fails first, with what to do about it.
    pub fn set(
        directory: &Path,
        size: Size,
        program: &Program,
        subjects: &mut [Box<dyn Subject>],
    ) -> Result<Self> {
        let proxy = Proxy::start()?;
        let links = (0..size.instances).map(|_| Links::new(&proxy, size.brokers));
        let links = links.collect::<Result<Vec<_>>>()?;
        let advertised = links.iter().zip(1..).map(|(links, number)| links.advertised(number));
        let servers = Servers::start(directory, size.brokers, &advertised.collect::<Vec<_>>())?;
        for (links, number) in links.iter().zip(1..) {
            links.lead(number, &servers)?;
        }
        let database = Database::create(servers.database_address()?)?;
        let instances = links.iter().zip(1..).map(|(links, number)| {
            Instance::new(number, program, directory, &config(links, subjects))
        });
        let instances = instances.collect::<Result<Vec<_>>>()?;
        let directory = directory.to_owned();
        let database_well = if size.is_near { DATABASE_NEAR } else { DATABASE_WELL };
        let stage =
            Self { instances, links, database_well, _proxy: proxy, database, servers, directory };
        (1..=size.instances).for_each(|number| stage.heal_link(number, Server::Database));
        stage.furnish(subjects)?;
        Ok(stage)
    }

    /// Makes all links of an instance to a server so.
    pub fn set_link(&self, instance: u32, to: Server, condition: Condition) {
        let Some(links) = self.links.get(instance as usize - 1) else { return };
        match to {
            Server::Database => links.database.set(condition),
            Server::Kafka => links.kafka.iter().for_each(|link| link.set(condition)),
        }
    }

    /// Makes them well again.
    pub fn heal_link(&self, instance: u32, to: Server) {
        let well = match to {
            Server::Database => self.database_well,
            Server::Kafka => Condition::Healthy,
        };
        self.set_link(instance, to, well);
    }

    /// An instance by its number.
    ///
    /// # Errors
    /// There is none.
    pub fn instance(&mut self, number: u32) -> Result<&mut Instance> {
        let found = self.instances.get_mut(number as usize - 1);
        found.with_context(|| format!("there is no instance {number}"))
    }

    /// The end of each partition of a topic.
    ///
    /// # Errors
    /// The brokers do not answer.
    pub fn ends(&self, topic: &str, partitions: i32) -> Result<BTreeMap<i32, i64>> {
        let consumer: BaseConsumer = client(&self.servers)?.create()?;
        let end = |partition| {
            Ok((partition, consumer.fetch_watermarks(topic, partition, ANSWER_WITHIN)?.1))
        };
        (0..partitions).map(end).collect()
    }

    fn furnish(&self, subjects: &mut [Box<dyn Subject>]) -> Result<()> {
        for subject in &*subjects {
            self.create_topic(subject.name(), subject.partitions())?;
        }
        self.instances.first().context("no instance")?.finish(&["migrate"])?;
        let mut client = self.database.connect()?;
        for subject in subjects {
            subject.prepare(&mut client)?;
        }
        Ok(())
    }

    fn create_topic(&self, name: &str, partitions: i32) -> Result<()> {
        let admin: AdminClient<DefaultClientContext> = client(&self.servers)?.create()?;
        let replicas = if self.servers.num_brokers() < 3 { 1 } else { 3 };
        let topics = [NewTopic::new(name, partitions, TopicReplication::Fixed(replicas))];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let options = AdminOptions::new();
        for answer in runtime.block_on(admin.create_topics(&topics, &options))? {
            answer.map_err(|(topic, error)| anyhow!("topic {topic}: {error}"))?;
        }
        wait::until("all partitions have a leader", ANSWER_WITHIN, || {
            Ok(self.ends(name, partitions).is_ok().then_some(()))
        })
    }
}

impl Links {
    fn new(proxy: &Proxy, brokers: u32) -> Result<Self> {
        let kafka = (0..brokers).map(|_| proxy.link()).collect::<Result<_>>()?;
        Ok(Self { kafka, database: proxy.link()? })
    }

    fn advertised(&self, instance: u32) -> Advertised {
        let addresses = self.kafka.iter().map(Link::address).collect();
        Advertised { name: listener(instance), addresses }
    }

    fn lead(&self, instance: u32, servers: &Servers) -> Result<()> {
        for (link, broker) in self.kafka.iter().zip(1..) {
            link.lead_to(servers.link_address(broker, &listener(instance))?);
        }
        self.database.lead_to(servers.database_address()?);
        Ok(())
    }
}

/// The listener that is an instance's own.
fn listener(instance: u32) -> String {
    format!("LINK{instance}")
}

fn client(servers: &Servers) -> Result<ClientConfig> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers.bootstrap()?).set("group.id", "longshore.faults");
    Ok(config)
}

/// An instance's `longshore.toml`: small batches, so that there is always something in hand.
fn config(links: &Links, subjects: &[Box<dyn Subject>]) -> String {
    let brokers = links.kafka.iter().map(|link| link.address().to_string());
    let mut text = format!(
        "memory = \"16 MiB\"\nworkers = 2\ndrain_limit = \"10s\"\n\n\
         [kafka]\nbrokers = \"{}\"\n\n\
         [kafka.properties]\n\"session.timeout.ms\" = {}\n\"heartbeat.interval.ms\" = 1000\n\
         \"max.poll.interval.ms\" = {}\n\n\
         [database]\nurl = \"{}\"\nconnections = 2\nstatement_timeout = \"10s\"\n\n\
         [http]\nlisten = \"127.0.0.1:0\"\n",
        brokers.collect::<Vec<_>>().join(","),
        SESSION_TIMEOUT.as_millis(),
        MAX_POLL_INTERVAL.as_millis(),
        Database::url_through(links.database.address()),
    );
    for subject in subjects {
        let name = subject.name();
        // Writing into a string cannot fail.
        let _ = writeln!(text, "\n[pipelines.{name}]\ntopics = [\"{name}\"]");
        for (key, value) in subject.settings() {
            let _ = writeln!(text, "{key} = {value}");
        }
    }
    text
}
