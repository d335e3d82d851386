//! Keeps a consumer running: a new one takes the place of one that ended by an error, that another
//! owner fenced, or whose thread hangs. Past a limit the pipeline ends with a reason.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use longshore_actors::door::Front;
use longshore_actors::supervise::Backoff;
use tokio::sync::watch;

use super::source::{Commands, ThreadSource};
use super::status::ConsumerStatus;
use super::thread::{ConsumerError, ConsumerHandle, ConsumerParams, ConsumerThread, Drained};

/// New consumers that may follow each other within [`WITHIN`].
const CONSUMERS_MAX: usize = 10;
const WITHIN: Duration = Duration::from_secs(600);
/// A thread that has not come round for so long is hung: its longest rounds are a rebalance that
/// waits for batches and a question to the brokers.
const HUNG_AFTER: Duration = Duration::from_secs(30);
/// How often the thread is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What each new consumer begins with.
type Renew = Box<dyn Fn() + Send + Sync>;

/// A consumer that is kept running. Dropped, it closes at once.
pub struct ConsumerKeeper {
    kept: Arc<Kept>,
    failed: watch::Receiver<Option<ConsumerError>>,
    keeping: tokio::task::JoinHandle<()>,
}

struct Kept {
    params: ConsumerParams,
    front: Arc<dyn Front>,
    source: Arc<ThreadSource>,
    status: ConsumerStatus,
    renew: Renew,
    current: Mutex<Arc<ConsumerHandle>>,
}

impl ConsumerKeeper {
    /// Starts a consumer, and keeps one running. `renew` is called before each further one. Must be
    /// called inside a runtime.
    ///
    /// # Errors
    /// If the first one cannot be had; see [`ConsumerThread::spawn`].
    pub fn start(
        params: ConsumerParams,
        front: Arc<dyn Front>,
        (source, commands): (Arc<ThreadSource>, Commands),
        renew: Renew,
    ) -> Result<Self, ConsumerError> {
        let status = ConsumerStatus::default();
        let first = ConsumerThread::spawn(&params, front.clone(), commands, status.for_next())?;
        let current = Mutex::new(Arc::new(first));
        let kept = Arc::new(Kept { params, front, source, status, renew, current });
        let (news, failed) = watch::channel(None);
        let keeping = tokio::task::spawn_local(keep(kept.clone(), news));
        Ok(Self { kept, failed, keeping })
    }

    /// What the consumer is doing.
    pub fn status(&self) -> &ConsumerStatus {
        &self.kept.status
    }

    /// Waits until there is no consumer any more, and no further one is tried.
    pub async fn failed(&self) -> ConsumerError {
        let mut failed = self.failed.clone();
        match failed.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(error)) => error.clone(),
            _ => ConsumerError::Fatal("nobody keeps the consumer running".to_owned()),
        }
    }

    /// Starts no consumer any more, and drains this one; see [`ConsumerHandle::drain`].
    ///
    /// # Errors
    /// If the consumer had ended by an error before, or hangs.
    pub async fn drain(&self, limit: Duration) -> Result<Drained, ConsumerError> {
        self.keeping.abort();
        let current = self.kept.current().clone();
        current.drain(limit).await
    }
}

impl Drop for ConsumerKeeper {
    fn drop(&mut self) {
        self.keeping.abort();
    }
}

impl Kept {
    fn current(&self) -> MutexGuard<'_, Arc<ConsumerHandle>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new consumer, behind a new channel and under a new owner's name.
    fn start_again(&self) -> Result<(), ConsumerError> {
        (self.renew)();
        let (front, status) = (self.front.clone(), self.status.for_next());
        let next = ConsumerThread::spawn(&self.params, front, self.source.renew(), status)?;
        self.status.restarted();
        *self.current() = Arc::new(next);
        Ok(())
    }

    /// Waits until this consumer is of no use any more.
    async fn ended(&self) -> ConsumerError {
        let current = self.current().clone();
        tokio::select! {
            ended = current.finished() => match ended {
                Err(error) => error,
                // Only we drain it, and then nobody waits here.
                Ok(_) => ConsumerError::Fatal("it was drained".to_owned()),
            },
            () = hangs(&self.status) => {
                current.abandon();
                ConsumerError::Hung(HUNG_AFTER)
            }
        }
    }
}

/// Waits until the thread has not come round for too long.
async fn hangs(status: &ConsumerStatus) {
    let (mut rounds, mut since) = (status.rounds(), Instant::now());
    while since.elapsed() < HUNG_AFTER {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let now = status.rounds();
        if now != rounds {
            (rounds, since) = (now, Instant::now());
        }
    }
}

async fn keep(kept: Arc<Kept>, news: watch::Sender<Option<ConsumerError>>) {
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
    let mut ends = VecDeque::new();
    loop {
        let mut error = kept.ended().await;
        loop {
            let now = Instant::now();
            ends.retain(|end| now - *end < WITHIN);
            if ends.is_empty() {
                backoff.reset();
            }
            ends.push_back(now);
            if ends.len() > CONSUMERS_MAX {
                news.send_replace(Some(error));
                return;
            }
            let pause = backoff.next_pause();
            tracing::error!(pipeline = kept.params.pipeline, %error, ?pause, "a new consumer");
            kept.status.ended(error.to_string());
            tokio::time::sleep(pause).await;
            match kept.start_again() {
                Ok(()) => break,
                Err(next) => error = next,
            }
        }
    }
}
