//! Doors without a house, for tests of whoever reads.

use std::sync::Arc;

use actix::Recipient;

use crate::batch::PolledBatch;
use crate::door::{Door, InHand};
use crate::fence::Fence;

/// A door to `actor`, with the function that reports `n` of its batches as settled.
pub fn detached_door(
    fence: Arc<Fence>,
    actor: Recipient<PolledBatch>,
) -> (Door, impl Fn(usize) + Send + Sync + 'static) {
    let in_hand = InHand::default();
    let settle = in_hand.clone();
    (Door::new(fence, actor, in_hand), move |batches| settle.settle(batches))
}
