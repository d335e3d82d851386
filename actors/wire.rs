//! Sending down the way: into a mailbox whose capacity tickets guarantee.

use actix::prelude::SendError;
use actix::{Message, Recipient};

/// Sends `message` down to the next stage. If that stage is gone the message is dropped, and the
/// batch in it tells its partition. A full mailbox is a bug: tickets bound what is on the way.
pub(crate) fn forward<M>(stage: &'static str, to: &Recipient<M>, message: M)
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    match to.try_send(message) {
        Ok(()) => {}
        Err(SendError::Closed(_)) => tracing::debug!(stage, "the next stage is gone"),
        Err(SendError::Full(_)) => {
            tracing::error!(stage, "a mailbox is full although tickets bound it: this is a bug");
        }
    }
}
