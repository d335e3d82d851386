//! One running pipeline: its consumer thread in front, its house behind.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use longshore_actors::conservation::{Conservation, Ledger};
use longshore_actors::health::HouseHealth;
use longshore_actors::pipeline::Pipeline;
use longshore_actors::record::PartitionId;
use longshore_actors::topology::{House, HouseDown};

use super::ServiceError;
use super::view::Parts;
use crate::config::PipelineConfig;
use crate::kafka::{ConsumerKeeper, ConsumerStatus, PartitionState, StatusSnapshot};

/// How long a drained pipeline may take to say in the database that it died over nothing.
const REST_LIMIT: Duration = Duration::from_secs(2);

/// See the module.
pub struct RunningPipeline {
    config: PipelineConfig,
    consumer: ConsumerKeeper,
    house: Box<dyn Standing>,
}

/// A house without its types.
trait Standing {
    fn ledger(&self) -> Ledger;
    fn health(&self) -> HouseHealth;
    fn parts(&self, consumer: ConsumerStatus) -> Parts;
    fn down(&self) -> LocalBoxFuture<'_, HouseDown>;
    fn rest(&self) -> LocalBoxFuture<'_, ()>;
    fn stop(self: Box<Self>);
}

impl<P: Pipeline> Standing for House<P> {
    fn ledger(&self) -> Ledger {
        House::ledger(self).clone()
    }

    fn health(&self) -> HouseHealth {
        House::health(self)
    }

    fn parts(&self, consumer: ConsumerStatus) -> Parts {
        let (ledger, register) = (House::ledger(self).clone(), self.register());
        let (published, pace) = (self.published(), self.pace());
        Parts { ledger, health: self.health_board(), register, pace, published, consumer }
    }

    fn down(&self) -> LocalBoxFuture<'_, HouseDown> {
        House::down(self).boxed_local()
    }

    fn rest(&self) -> LocalBoxFuture<'_, ()> {
        House::rest(self, REST_LIMIT).boxed_local()
    }

    fn stop(self: Box<Self>) {
        House::stop(*self);
    }
}

impl RunningPipeline {
    pub(super) fn new<P: Pipeline>(
        config: PipelineConfig,
        house: House<P>,
        consumer: ConsumerKeeper,
    ) -> Self {
        Self { config, consumer, house: Box::new(house) }
    }

    /// Its configuration.
    pub fn config(&self) -> &PipelineConfig {
        &self.config
    }

    /// What became of all records so far.
    pub fn ledger(&self) -> Ledger {
        self.house.ledger()
    }

    /// How its actors are.
    pub fn health(&self) -> HouseHealth {
        self.house.health()
    }

    /// Where its state is read from any thread.
    pub(super) fn parts(&self) -> Parts {
        self.house.parts(self.consumer.status().clone())
    }

    /// What its consumer thread is doing.
    pub fn status(&self) -> StatusSnapshot {
        self.consumer.status().snapshot()
    }

    /// The partitions that stopped, and why.
    pub fn stopped(&self) -> Vec<(PartitionId, String)> {
        let partitions = self.status().partitions.into_iter();
        let stopped = partitions.filter_map(|(id, partition)| match partition.state {
            PartitionState::Stopped(reason) => Some((id, reason)),
            _ => None,
        });
        stopped.collect()
    }

    /// Waits until the pipeline fails as a whole: its consumer ended or an actor panicked.
    pub async fn failed(&self) -> ServiceError {
        let name = self.config.name.clone();
        tokio::select! {
            error = self.consumer.failed() => ServiceError::Consumer { pipeline: name, error },
            down = self.house.down() => ServiceError::HouseDown { pipeline: name, down },
        }
    }

    /// Reads nothing more, saves what is in hand within `limit`, leaves the group, ends all actors.
    ///
    /// # Errors
    /// The consumer had ended by an error, or hangs. Nothing is lost: what was not saved is read
    /// again.
    pub async fn drain(self, limit: Duration) -> Result<Conservation, ServiceError> {
        let Self { config, consumer, house } = self;
        let drained = consumer.drain(limit).await;
        let total = house.ledger().total();
        // After a hung thread the mark stays: its record is looked for at the next starts.
        if house.health().hung_threads == 0 {
            house.rest().await;
        }
        house.stop();
        match drained {
            Ok(drained) if drained.batches_left > 0 => {
                let batches = drained.batches_left;
                tracing::warn!(pipeline = config.name, batches, "left unsaved when time was over");
            }
            Ok(_) => {}
            Err(error) => return Err(ServiceError::Consumer { pipeline: config.name, error }),
        }
        let settled = total.settled;
        tracing::info!(
            pipeline = config.name,
            read = total.read,
            saved = settled.saved,
            skipped = settled.skipped,
            duplicate = settled.duplicate,
            parked = settled.parked,
            given_up = total.given_up,
            "drained"
        );
        Ok(total)
    }
}
