//! Where it is measured: the given or embedded servers, and what the bench has made on them, which
//! it removes at the end, however that comes about.

use std::sync::{Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio_postgres::Client;
use uuid::Uuid;

use super::error::BenchError;
use crate::config::KafkaProperties;
use crate::feed::Topics;
use crate::postgres::connect::{ConnectOptions, SessionSettings};

/// Where it is measured.
pub(super) struct Site {
    /// The given brokers; `None`: each run has a Kafka of its own in this process.
    pub(super) brokers: Option<GivenBrokers>,
    url: String,
    password: Option<String>,
    maintenance: Client,
    names: Names,
    made: Mutex<Made>,
}

/// What a bench calls what it makes: with a mark of its own, so that people can tell whose it is.
#[derive(Clone, Debug)]
pub(crate) struct Names(String);

impl Names {
    /// Names that no other bench has.
    pub(crate) fn new() -> Self {
        let mut mark = Uuid::new_v4().simple().to_string();
        mark.truncate(8);
        Self(mark)
    }

    /// How the names of its databases begin.
    pub(crate) fn databases(&self) -> String {
        format!("longshore_bench_{}_", self.0)
    }

    /// How the names of its topics begin.
    pub(crate) fn topics(&self) -> String {
        format!("longshore.bench.{}.", self.0)
    }
}

/// Brokers that were there before.
pub(super) struct GivenBrokers {
    /// `host:port`, several with commas between.
    pub(super) addresses: String,
    /// Makes topics on them.
    pub(super) topics: Topics,
}

/// A database of the bench's own.
#[derive(Clone)]
pub(super) struct OwnDatabase {
    /// Its name.
    pub(super) name: String,
    /// Its URL, which may hold a password.
    pub(super) url: String,
    /// The way to it.
    pub(super) options: ConnectOptions,
}

#[derive(Default)]
struct Made {
    /// How many there ever were.
    count: u32,
    databases: Vec<String>,
    topics: Vec<String>,
}

impl Site {
    /// Looks at the servers: `url` leads to a database whose user may make others.
    pub(super) async fn open(
        url: &str,
        password: Option<&str>,
        brokers: Option<&str>,
        properties: &KafkaProperties,
        names: Names,
    ) -> Result<Self, BenchError> {
        let (maintenance, _) = connect(&options(url, password)?).await?;
        let brokers = brokers.map(|addresses| {
            let topics = Topics::new(addresses, properties)?;
            Ok::<_, BenchError>(GivenBrokers { addresses: addresses.to_owned(), topics })
        });
        Ok(Self {
            brokers: brokers.transpose()?,
            url: url.to_owned(),
            password: password.map(str::to_owned),
            maintenance,
            names,
            made: Mutex::default(),
        })
    }

    /// The server's own word for its version.
    pub(super) async fn server_version(&self) -> Result<String, BenchError> {
        let row = self.maintenance.query_one("show server_version", &[]).await;
        Ok(row.map_err(BenchError::database("asking for its version"))?.get(0))
    }

    /// Makes a database.
    pub(super) async fn database(&self) -> Result<OwnDatabase, BenchError> {
        let name = self.made().name(&self.names.databases());
        self.made().databases.push(name.clone());
        let doing = "making a database of the bench's own (its user needs the right CREATEDB)";
        let made = self.maintenance.batch_execute(&format!("create database {name}")).await;
        made.map_err(BenchError::database(doing))?;
        let url = with_database(&self.url, &name);
        let options = options(&url, self.password.as_deref())?;
        Ok(OwnDatabase { name, url, options })
    }

    /// Drops a database.
    pub(super) async fn drop_database(&self, name: &str) {
        let sql = format!("drop database if exists {name} with (force)");
        match self.maintenance.batch_execute(&sql).await {
            Ok(()) => self.made().databases.retain(|made| made != name),
            Err(error) => tracing::warn!(name, %error, "the bench's database is not dropped"),
        }
    }

    /// Makes a topic on the given brokers, if there are any, and gives its name.
    pub(super) async fn topic(&self, partitions: i32) -> Result<String, BenchError> {
        self.topic_with(partitions, &[]).await
    }

    /// The same, and the given brokers stamp each record when they append it.
    pub(super) async fn stamping_topic(&self, partitions: i32) -> Result<String, BenchError> {
        self.topic_with(partitions, &[("message.timestamp.type", "LogAppendTime")]).await
    }

    async fn topic_with(
        &self,
        partitions: i32,
        settings: &[(&str, &str)],
    ) -> Result<String, BenchError> {
        let name = self.made().name(&self.names.topics());
        if let Some(brokers) = &self.brokers {
            self.made().topics.push(name.clone());
            brokers.topics.create(&name, partitions, settings).await?;
        }
        Ok(name)
    }

    /// Deletes a topic.
    pub(super) async fn delete_topic(&self, name: &str) {
        if let Some(brokers) = &self.brokers {
            brokers.topics.delete(&[name.to_owned()]).await;
            self.made().topics.retain(|made| made != name);
        }
    }

    /// Removes all that was made and is still there.
    pub(super) async fn clear(&self) {
        let Made { databases, topics, .. } = std::mem::take(&mut *self.made());
        for name in databases {
            self.drop_database(&name).await;
        }
        if let Some(brokers) = self.brokers.as_ref().filter(|_| !topics.is_empty()) {
            brokers.topics.delete(&topics).await;
        }
    }

    fn made(&self) -> std::sync::MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Made {
    fn name(&mut self, prefix: &str) -> String {
        self.count += 1;
        format!("{prefix}{}", self.count)
    }
}

/// Opens a connection of the bench's own, with its process id on the server. Its statements may
/// take as long as they take.
pub(super) async fn connect(options: &ConnectOptions) -> Result<(Client, u32), BenchError> {
    let settings = SessionSettings::with_statement_timeout(std::time::Duration::ZERO);
    let connect = async {
        let (client, _) = options.connect(&settings, &Handle::current()).await?;
        let row = client.query_one("select pg_backend_pid()", &[]).await?;
        let pid = row.get::<_, i32>(0).unsigned_abs();
        Ok((client, pid))
    };
    connect.await.map_err(BenchError::database::<tokio_postgres::Error>("connecting"))
}

fn options(url: &str, password: Option<&str>) -> Result<ConnectOptions, BenchError> {
    ConnectOptions::try_new(url, password).map_err(BenchError::database("reading its URL"))
}

/// The same URL with another database in its path.
fn with_database(url: &str, database: &str) -> String {
    // A password may hold a slash or a question mark: the path begins behind it.
    let authority = url.find("://").map_or(0, |at| at + 3);
    let authority = url.find('@').map_or(authority, |at| at + 1);
    let (base, options) = match url[authority..].find('?').map(|at| authority + at) {
        Some(mark) => url.split_at(mark),
        None => (url, ""),
    };
    let end = base[authority..].find('/').map_or(base.len(), |at| authority + at);
    format!("{}/{database}{options}", &base[..end])
}

#[cfg(test)]
mod tests {
    use super::with_database;

    #[test]
    fn the_database_is_replaced_and_nothing_else() {
        for (url, expected) in [
            ("postgres://u@h:1/a?sslmode=disable", "postgres://u@h:1/x?sslmode=disable"),
            ("postgres://u:p?w/@h/a", "postgres://u:p?w/@h/x"),
            ("postgresql:///a?host=%2Frun&user=u", "postgresql:///x?host=%2Frun&user=u"),
            ("postgres://h", "postgres://h/x"),
            ("postgres://h?user=u", "postgres://h/x?user=u"),
        ] {
            assert_eq!(with_database(url, "x"), expected);
        }
    }
}
