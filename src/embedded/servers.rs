//! Starts what is missing, side by side: an embedded PostgreSQL, an embedded Kafka, or both.

use std::thread;
use std::time::{Duration, Instant};

use super::error::EmbeddedError;
use super::kafka::EmbeddedKafka;
use super::postgres::{EmbeddedPostgres, PostgresOptions};

/// What to start; `None` where the user has a server already.
#[derive(Clone, Debug, Default)]
pub struct ServersOptions<'a> {
    /// How PostgreSQL is to be.
    pub postgres: Option<PostgresOptions>,
    /// The topics of Kafka, each with its number of partitions.
    pub kafka: Option<&'a [(&'a str, i32)]>,
}

/// The servers that came along; they end with this value.
#[derive(Debug)]
pub struct EmbeddedServers {
    /// PostgreSQL, if it was asked for.
    pub postgres: Option<EmbeddedPostgres>,
    /// Kafka, if it was asked for.
    pub kafka: Option<EmbeddedKafka>,
}

impl EmbeddedServers {
    /// Starts them at the same time, and says a line for each step with the time it took. Blocks
    /// its thread; if one does not start, the other is stopped again.
    ///
    /// # Errors
    /// [`EmbeddedError`], which says what to do about it.
    pub fn start(options: &ServersOptions<'_>, say: &dyn Fn(&str)) -> Result<Self, EmbeddedError> {
        thread::scope(|scope| {
            let topics = options.kafka;
            let kafka = topics.map(|topics| scope.spawn(|| timed(|| EmbeddedKafka::start(topics))));
            let postgres = options.postgres.as_ref();
            let postgres = postgres.map(|options| timed(|| EmbeddedPostgres::start(options, say)));
            let kafka = kafka.map(|thread| {
                let panicked = |_| Err(EmbeddedError::Kafka("its start panicked".to_owned()));
                thread.join().unwrap_or_else(panicked)
            });
            let kafka = kafka.transpose()?.map(|(kafka, took)| {
                say(&format!("Kafka: in this process, {} ({})", kafka.brokers(), seconds(took)));
                kafka
            });
            let postgres = postgres.transpose()?.map(|(postgres, took)| {
                say(&format!("PostgreSQL: {} ({})", postgres.origin(), seconds(took)));
                postgres
            });
            Ok(Self { postgres, kafka })
        })
    }

    /// Stops them in good order; what the database held is gone.
    ///
    /// # Errors
    /// A PostgreSQL that could not be stopped.
    pub fn stop(self) -> Result<(), EmbeddedError> {
        drop(self.kafka);
        self.postgres.map_or(Ok(()), EmbeddedPostgres::stop)
    }
}

fn timed<T>(
    start: impl FnOnce() -> Result<T, EmbeddedError>,
) -> Result<(T, Duration), EmbeddedError> {
    let begun = Instant::now();
    start().map(|started| (started, begun.elapsed()))
}

fn seconds(took: Duration) -> String {
    format!("{:.2} s", took.as_secs_f64())
}
