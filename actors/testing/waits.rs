//! What the work of the tests' pipeline waits for: a clock, an actor of the pipeline's own, a
//! thread that it should not block; and how many events wait.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use actix::prelude::*;

use crate::error::{RetryLater, Unworked};
use crate::health::Signs;
use crate::own::OwnActors;
use crate::stage::Stage;
use crate::supervise::{Post, Watched};

/// How long the work of an event waits.
#[derive(Clone, Copy, Debug, Default)]
pub enum Waits {
    /// Not at all.
    #[default]
    Never,
    /// As long for all.
    Each(Duration),
    /// So long for the events of this key, not at all for others.
    Key(u64, Duration),
    /// Every second one, for as many milliseconds as come up by chance, below this.
    Some(u64),
    /// Until an actor of the pipeline's own lets it through, which has this limit to answer.
    Asks(Duration),
    /// For a moment, and then it blocks its thread for ever.
    Blocks,
}

impl Waits {
    pub(super) async fn wait(
        self,
        key: u64,
        waiting: &Waiting,
        turnstile: &Turnstile,
    ) -> Result<(), Unworked> {
        let pause = match self {
            Self::Never => return Ok(()),
            Self::Key(slow, _) if slow != key => return Ok(()),
            Self::Some(_) if fastrand::bool() => return Ok(()),
            Self::Each(pause) | Self::Key(_, pause) => pause,
            Self::Some(below) => Duration::from_millis(fastrand::u64(..below)),
            Self::Asks(limit) => {
                let _waiting = waiting.begin();
                let answer = turnstile.0.ask(Pass, limit).await;
                let later = |error: crate::stage::Unanswered| {
                    RetryLater::new("turnstile", error.to_string()).into()
                };
                return answer.map_err(later);
            }
            Self::Blocks => Duration::from_millis(1),
        };
        let _waiting = waiting.begin();
        tokio::time::sleep(pause).await;
        while let Self::Blocks = self {
            std::thread::park();
        }
        Ok(())
    }
}

/// Counts events whose work waits.
#[derive(Debug, Default)]
pub struct Waiting {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Waiting {
    /// How many wait now.
    pub fn now(&self) -> usize {
        self.now.load(SeqCst)
    }

    /// The most that ever waited at a time.
    pub fn most(&self) -> usize {
        self.most.load(SeqCst)
    }

    fn begin(&self) -> WaitingOne<'_> {
        self.most.fetch_max(self.now.fetch_add(1, SeqCst) + 1, SeqCst);
        WaitingOne(self)
    }
}

/// An event whose work waits, to its end or until it is cancelled.
struct WaitingOne<'a>(&'a Waiting);

impl Drop for WaitingOne<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, SeqCst);
    }
}

/// The way to an actor that lets one through each millisecond.
#[derive(Debug)]
pub(super) struct Turnstile(Stage<Pass>);

impl Default for Turnstile {
    fn default() -> Self {
        Self(Stage::new("TurnstileActor"))
    }
}

impl Turnstile {
    pub(super) fn open(&self, own: &mut OwnActors) {
        let make = |post| TurnstileActor { post };
        own.start("TurnstileActor", 1000, make).receives(&self.0);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Pass;

struct TurnstileActor {
    post: Post,
}

impl Actor for TurnstileActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.post.take_up(self, ctx);
    }
}

impl Watched for TurnstileActor {
    fn post(&self) -> &Post {
        &self.post
    }

    fn signs(&self) -> Signs {
        Signs::default()
    }
}

impl Handler<Pass> for TurnstileActor {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, _: Pass, _: &mut Context<Self>) -> Self::Result {
        crate::faults::point("TurnstileActor", "Pass");
        let passed = tokio::time::sleep(Duration::from_millis(1));
        AtomicResponse::new(Box::pin(passed.into_actor(self)))
    }
}
