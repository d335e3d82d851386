//! Death and waiting: how the house learns that an actor panicked, and how long anybody waits
//! before trying again.
//!
//! # Why
//! actix's own `Supervisor` does not see a panic: the actor is dropped while its thread unwinds,
//! and its mailbox closes. So each actor owns a [`DownGuard`], whose drop is the news. What a dead
//! actor had in hand is dropped with it, and every [`crate::batch::Batch`] tells its partition.

use std::time::Duration;

use tokio::sync::watch;

/// An actor that ended by a panic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActorDown {
    /// The actor's type, as in the documentation.
    pub actor: &'static str,
}

/// Tells the house's owner that the actor holding it panicked. A normal end is no news.
#[derive(Clone, Debug)]
pub struct DownGuard {
    actor: &'static str,
    news: watch::Sender<Option<ActorDown>>,
}

impl DownGuard {
    /// A guard for `actor`, which reports to `news`.
    pub fn new(actor: &'static str, news: watch::Sender<Option<ActorDown>>) -> Self {
        Self { actor, news }
    }
}

impl Drop for DownGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.news.send_replace(Some(ActorDown { actor: self.actor }));
        }
    }
}

/// Pauses that double up to a limit, each with jitter, so that many waiters do not come at once.
#[derive(Clone, Debug)]
pub struct Backoff {
    pause: Duration,
    first: Duration,
    longest: Duration,
}

impl Backoff {
    /// Begins at `first` and doubles up to `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { pause: first, first, longest }
    }

    /// For a database that is away: from 50 ms to 2 s, so that work resumes soon after it is back.
    pub fn for_outage() -> Self {
        Self::new(Duration::from_millis(50), Duration::from_secs(2))
    }

    /// Waits for the next pause: between half of it and all of it.
    pub async fn wait(&mut self) {
        let pause = self.pause.mul_f64(0.5 + 0.5 * fastrand::f64());
        self.pause = (self.pause * 2).min(self.longest);
        tokio::time::sleep(pause).await;
    }

    /// Begins again with the shortest pause.
    pub fn reset(&mut self) {
        self.pause = self.first;
    }
}
