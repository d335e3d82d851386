//! The error of the fast reader, which says nothing: serde_json's will.

use std::cell::Cell;
use std::fmt;

use serde::de::Error;

thread_local! {
    /// How often something came up that serde_json may see otherwise.
    static DOUBTS: Cell<u64> = const { Cell::new(0) };
}

/// The value is not read here.
///
/// # Why it has no text
/// Nobody is to see one: neither is a message written for nothing, nor does it differ from
/// serde_json's. If a type asks for it all the same, the value is in [doubt](doubts).
pub(super) struct GivenUp(());

impl GivenUp {
    /// An error that leaves the reader elsewhere than it would leave serde_json's.
    #[cold]
    pub(super) fn in_doubt(self) -> Self {
        doubt();
        self
    }
}

/// How many doubts there were in this thread.
///
/// # Why
/// An error need not come back to whoever reads: a type may take another value in its place. What
/// serde_json would have made of the value is then known only if the reader has not given up, and
/// nobody has looked at an error.
#[inline]
pub(super) fn doubts() -> u64 {
    DOUBTS.get()
}

/// The reader does not read on.
#[cold]
#[inline(never)]
pub(super) fn give_up() -> GivenUp {
    doubt();
    GivenUp(())
}

fn doubt() {
    DOUBTS.set(DOUBTS.get().wrapping_add(1));
}

impl Error for GivenUp {
    /// Made by a type that refuses what it has read, as it would refuse it of serde_json.
    #[cold]
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(())
    }
}

impl std::error::Error for GivenUp {}

impl fmt::Display for GivenUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        doubt();
        f.write_str("not read by the fast reader")
    }
}

impl fmt::Debug for GivenUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
