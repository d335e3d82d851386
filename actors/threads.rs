//! The threads of a house. A hung one cannot be ended: it is replaced and left behind.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::{Arbiter, ArbiterHandle};

/// Where actors live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Each stage on threads of its own, so that stages overlap.
    Threads,
    /// All on the calling thread: for tests under virtual time.
    Here,
}

/// How long the threads may take to end. A hung one is not waited for.
const END_LIMIT: Duration = Duration::from_secs(2);

/// One of the house's threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Thread(usize);

impl Thread {
    /// The one that all partitions' actors live on.
    pub(crate) const PARTITIONS: Self = Self(0);
}

/// All threads of a house. Cheap to clone; all clones are one set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Threads(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// `None`: all on the thread that built the house.
    arbiters: Option<Vec<Arbiter>>,
    names: Vec<&'static str>,
    left_behind: usize,
}

impl Threads {
    /// Real threads, to be made one by one.
    pub(crate) fn own() -> Self {
        let arbiters = Some(Vec::new());
        Self(Arc::new(Mutex::new(Inner { arbiters, ..Inner::default() })))
    }

    /// The calling thread for everybody.
    pub(crate) fn here() -> Self {
        Self::default()
    }

    /// Makes one more thread under a name. The first one is [`Thread::PARTITIONS`].
    pub(crate) fn start(&self, name: &'static str) -> Thread {
        let mut inner = self.lock();
        let Inner { arbiters: Some(arbiters), names, .. } = &mut *inner else { return Thread(0) };
        arbiters.push(named(name));
        names.push(name);
        Thread(arbiters.len() - 1)
    }

    /// Where to start an actor of that thread.
    pub(crate) fn handle(&self, thread: Thread) -> ArbiterHandle {
        match &self.lock().arbiters {
            Some(arbiters) => arbiters[thread.0].handle(),
            None => Arbiter::current(),
        }
    }

    /// Puts a new thread in the place of a hung one. Gives the number of those left behind so far.
    pub(crate) fn replace(&self, thread: Thread) -> usize {
        let mut inner = self.lock();
        inner.left_behind += 1;
        if let Inner { arbiters: Some(arbiters), names, .. } = &mut *inner {
            let hung = std::mem::replace(&mut arbiters[thread.0], named(names[thread.0]));
            // Should it ever come back, it ends.
            hung.stop();
        }
        inner.left_behind
    }

    /// Ends all threads.
    pub(crate) fn stop(&self) {
        let arbiters = self.lock().arbiters.take().unwrap_or_default();
        let (done, ended) = std::sync::mpsc::channel::<()>();
        for arbiter in &arbiters {
            arbiter.stop();
        }
        std::thread::spawn(move || {
            for arbiter in arbiters {
                if arbiter.join().is_err() {
                    tracing::debug!("an actor thread ended by a panic");
                }
            }
            drop(done);
        });
        if ended.recv_timeout(END_LIMIT) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            tracing::warn!("a thread of the house does not end and is left behind");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread that tools which list threads (`top -H`, `longshore bench`) tell from the others.
fn named(name: &'static str) -> Arbiter {
    let arbiter = Arbiter::new();
    // The system's own name for it, of 15 bytes at most; where there is no such file it has none.
    arbiter.spawn_fn(move || drop(std::fs::write("/proc/thread-self/comm", name)));
    arbiter
}
