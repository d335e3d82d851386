//! The events of a batch, kept together with the arena that they borrow from.

use std::marker::PhantomData;
use std::sync::Arc;

use ouroboros::self_referencing;

use crate::batch::Parcel;
use crate::error::Reject;
use crate::pipeline::Pipeline;

/// The events of one batch, in offset order, and the records they were read from.
#[self_referencing]
pub struct Decoded<P: Pipeline> {
    pipeline: PhantomData<fn() -> P>,
    parcel: Arc<Parcel>,
    #[borrows(parcel)]
    #[not_covariant]
    entries: Vec<Entry<P::Event<'this>>>,
}

/// What one record gave.
#[derive(Debug)]
pub enum Entry<E> {
    /// An event, and the hash of its lane key (0 where the pipeline is not ordered by key).
    Event {
        /// What the record says.
        event: E,
        /// The hash of its lane key.
        lane: u64,
    },
    /// Nothing to do.
    Skip(&'static str),
    /// It could not be read.
    Reject(Box<Reject>),
    /// An earlier record of its lane is parked and comes back: it waits behind that one.
    Wait,
}

/// The entries of a batch, whose events live for `'this`: longer than they are shown.
pub(crate) struct Entries<'a, 'this, P: Pipeline> {
    pub(crate) all: &'a [Entry<P::Event<'this>>],
    outlives: PhantomData<&'a &'this ()>,
}

impl<P: Pipeline> Decoded<P> {
    /// Reads every record of `parcel` by `read`.
    pub(crate) fn read(
        parcel: Arc<Parcel>,
        read: impl for<'a> FnOnce(&'a Parcel) -> Vec<Entry<P::Event<'a>>>,
    ) -> Self {
        Self::new(PhantomData, parcel, |parcel| read(parcel))
    }

    /// Shows the parcel and the entries to `look`, which may keep both as long as this is borrowed.
    pub(crate) fn view<'a, R>(
        &'a self,
        look: impl for<'this> FnOnce(&'a Parcel, Entries<'a, 'this, P>) -> R,
    ) -> R {
        self.with(|all| look(all.parcel, Entries { all: all.entries, outlives: PhantomData }))
    }
}
