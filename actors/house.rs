//! A running house, as whoever started it holds it; [`crate::topology`] builds it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::conservation::Ledger;
use crate::front::HouseFront;
use crate::health::{HealthBoard, HouseHealth};
use crate::pace::Pace;
use crate::pipeline::Pipeline;
use crate::publisher::Published;
use crate::register::Register;
use crate::supervise::Ender;
use crate::supervisor::HouseDown;

/// A running house. Everything in it ends with [`House::stop`].
pub struct House<P: Pipeline> {
    front: Arc<HouseFront<P>>,
    health: HealthBoard,
    published: Published,
    down: watch::Receiver<Option<HouseDown>>,
    /// Ends the Supervisor, and all others with it.
    end: Ender,
}

impl<P: Pipeline> House<P> {
    pub(crate) fn new(
        front: HouseFront<P>,
        (health, published): (HealthBoard, Published),
        down: watch::Receiver<Option<HouseDown>>,
        end: Ender,
    ) -> Self {
        Self { front: Arc::new(front), health, published, down, end }
    }

    /// The front, for the thread that reads.
    pub fn front(&self) -> Arc<HouseFront<P>> {
        self.front.clone()
    }

    /// What became of all records so far.
    pub fn ledger(&self) -> &Ledger {
        &self.front.ledger
    }

    /// How all actors are.
    pub fn health(&self) -> HouseHealth {
        self.health.snapshot()
    }

    /// Where the health of all actors is read, for longer than the house stands.
    pub fn health_board(&self) -> HealthBoard {
        self.health.clone()
    }

    /// The partitions that it holds.
    pub fn register(&self) -> Register {
        self.front.register.clone()
    }

    /// How much it has published.
    pub fn published(&self) -> Published {
        self.published.clone()
    }

    /// How fast it goes.
    pub fn pace(&self) -> Pace {
        self.front.pace.clone()
    }

    /// Waits until the house cannot go on.
    pub async fn down(&self) -> HouseDown {
        let mut down = self.down.clone();
        match down.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(down)) => down.clone(),
            _ => HouseDown::Restarts { reason: "the Supervisor ended".to_owned() },
        }
    }

    /// Notes in the rows of all partitions that nothing of ours is in hand, after a drain: what was
    /// left unsettled is let go, and nobody died over it. Waits `limit` at most.
    pub async fn rest(&self, limit: Duration) {
        let left = self.front.register.partitions().into_iter().map(|entry| entry.fence);
        let fences: Vec<_> = left.chain(self.front.register.take_to_rest()).collect();
        let rested = self.front.params.store.rest(&fences);
        if !fences.is_empty() && !matches!(tokio::time::timeout(limit, rested).await, Ok(Ok(()))) {
            tracing::debug!("what was let go is not noted");
        }
    }

    /// Ends all actors and their threads. What they hold unsettled is given up, so drain first.
    pub fn stop(self) {
        self.front.threads.stop();
    }
}

impl<P: Pipeline> Drop for House<P> {
    fn drop(&mut self) {
        self.end.end();
    }
}
