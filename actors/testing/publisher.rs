//! A publisher in memory: topics that remember what came, brokers that fail by chance, and a
//! message that is too large.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::sleep;

use crate::publisher::{Outgoing, PublishError, Publisher};

/// See the module. Cheap to clone; all clones are one publisher.
#[derive(Clone, Default)]
pub struct MemoryPublisher(Arc<Mutex<Topics>>);

#[derive(Default)]
struct Topics {
    taken: Vec<Outgoing>,
    latency: Duration,
    rng: Option<fastrand::Rng>,
    /// After a failure nothing is taken until the producer was made anew: what was sent behind it
    /// fails as well.
    broken_until: Option<tokio::time::Instant>,
    refused: Option<Vec<u8>>,
}

impl MemoryPublisher {
    /// Reports take so long.
    pub fn set_latency(&self, latency: Duration) {
        self.lock().latency = latency;
    }

    /// From here on, the producer breaks now and then, as `seed` has it; `None`: no longer.
    pub fn set_weather(&self, seed: Option<u64>) {
        self.lock().rng = seed.map(fastrand::Rng::with_seed);
    }

    /// From here on, a message of this value is too large for its topic.
    pub fn refuse(&self, value: &[u8]) {
        self.lock().refused = Some(value.to_vec());
    }

    /// Everything that the topics have, in the order in which it came.
    pub fn taken(&self) -> Vec<Outgoing> {
        self.lock().taken.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Topics> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Topics {
    fn take(&mut self, message: &Outgoing) -> Result<(), PublishError> {
        let now = tokio::time::Instant::now();
        let broken = |text: &str| Err(PublishError::Retry(text.to_owned()));
        if self.broken_until.is_some_and(|until| now < until) {
            return broken("the producer is broken");
        }
        if message.value.is_some() && message.value == self.refused {
            return Err(PublishError::TooLarge("too large".to_owned()));
        }
        let luck = self.rng.as_mut().map_or(u32::MAX, |rng| rng.u32(..100));
        if luck < 4 {
            self.broken_until = Some(now + Duration::from_millis(1));
        }
        if luck >= 2 {
            self.taken.push(message.clone());
        }
        // Of the failures, every second one has reached its topic all the same.
        if luck < 4 { broken("the report is lost") } else { Ok(()) }
    }
}

impl Publisher for MemoryPublisher {
    fn send(&self, message: &Outgoing) -> BoxFuture<'static, Result<(), PublishError>> {
        let mut topics = self.lock();
        let (taken, latency) = (topics.take(message), topics.latency);
        async move {
            sleep(latency).await;
            taken
        }
        .boxed()
    }

    fn trouble(&self) -> Option<String> {
        None
    }
}
