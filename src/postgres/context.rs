//! Where a pipeline's context comes from: looked up ahead ([`crate::lookups!`]), or read in the
//! saving transaction ([`crate::own_writes!`]). The declaration decides.

use std::sync::Arc;

use longshore_actors::pipeline::{Context, Pipeline};
pub use longshore_actors::ports::ContextSource as Source;

use super::lookups::{LoadContext, LookupRules, PostgresLookups};
use super::own_writes::{LoadOwn, PostgresOwnWrites};
use super::pool::QueryPool;
use super::repeats::Repeats;
use super::store::PostgresStore;
use super::table::ChangedTable;

/// What context is read with.
pub struct ContextParts {
    /// Connections for lookups.
    pub queries: QueryPool,
    /// Whether probing pays.
    pub repeats: Arc<Repeats>,
    /// The pipeline's store.
    pub store: Arc<PostgresStore>,
    /// How old what is looked up may be.
    pub rules: LookupRules,
}

/// A context that comes from PostgreSQL. Implemented by the macros, and for `()`.
pub trait PostgresContext: Context {
    /// The lookups whose rows may be kept for a while, by name; "" is none.
    const LOOKUPS: &'static [&'static str] = &[];

    /// Where pipeline `P` gets it from.
    fn source<P: Pipeline<Context = Self>>(parts: &ContextParts) -> Source<P>;

    /// The tables whose rows records change, in the order in which they are declared.
    fn changed_tables() -> Vec<ChangedTable> {
        Vec::new()
    }
}

impl PostgresContext for () {
    fn source<P: Pipeline<Context = Self>>(parts: &ContextParts) -> Source<P> {
        lookups(parts)
    }
}

/// Looked up ahead.
#[doc(hidden)]
pub fn lookups<P: Pipeline<Context: LoadContext>>(parts: &ContextParts) -> Source<P> {
    let lookups =
        PostgresLookups::<P>::new(parts.queries.clone(), parts.repeats.clone(), &parts.rules);
    Source::Lookups(Arc::new(lookups))
}

/// Read in the saving transaction.
#[doc(hidden)]
pub fn own_writes<P: Pipeline<Context: LoadOwn>>(parts: &ContextParts) -> Source<P> {
    Source::OwnWrites(Arc::new(PostgresOwnWrites(parts.store.clone())))
}
