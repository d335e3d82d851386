//! The way to the next stage: a place that outlives the actor in it. Who sends keeps the place, and
//! whoever is started anew takes it over, so that nobody else hears of a restart.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use actix::prelude::SendError;
use actix::{Message, Recipient};
use thiserror::Error;

/// Where messages of one kind are received. Cheap to clone; all clones are one place.
pub struct Stage<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    name: &'static str,
    actor: Arc<RwLock<Option<Recipient<M>>>>,
}

impl<M> std::fmt::Debug for Stage<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stage").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<M> Clone for Stage<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn clone(&self) -> Self {
        Self { name: self.name, actor: self.actor.clone() }
    }
}

impl<M> Stage<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    /// A place for `name`, with nobody in it yet.
    pub fn new(name: &'static str) -> Self {
        Self { name, actor: Arc::default() }
    }

    /// From here on, `actor` receives.
    pub(crate) fn take_over(&self, actor: Recipient<M>) {
        *self.actor.write().unwrap_or_else(PoisonError::into_inner) = Some(actor);
    }

    /// Sends `message` and waits at most `limit` for the answer, as `work` may do; other records
    /// go on meanwhile.
    ///
    /// # Errors
    /// The actor is gone or it took too long: a reason to try again later.
    pub async fn ask(&self, message: M, limit: Duration) -> Result<M::Result, Unanswered> {
        let unanswered = Unanswered { stage: self.name };
        let actor = self.actor.read().unwrap_or_else(PoisonError::into_inner).clone();
        let answer = actor.ok_or(unanswered)?.send(message);
        tokio::time::timeout(limit, answer).await.ok().and_then(Result::ok).ok_or(unanswered)
    }

    /// Sends `message`. If the actor died and its successor has not begun, the message is dropped,
    /// and a batch in it tells its partition. A full mailbox is a bug: tickets bound what is on
    /// the way.
    pub fn forward(&self, message: M) {
        let actor = self.actor.read().unwrap_or_else(PoisonError::into_inner);
        match actor.as_ref().map(|actor| actor.try_send(message)) {
            Some(Ok(())) => {}
            None | Some(Err(SendError::Closed(_))) => {
                tracing::debug!(stage = self.name, "nobody is there to receive");
            }
            Some(Err(SendError::Full(_))) => {
                tracing::error!(stage = self.name, "a mailbox is full: this is a bug");
            }
        }
    }
}

/// An actor did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{stage} does not answer")]
pub struct Unanswered {
    /// Which.
    pub stage: &'static str,
}
