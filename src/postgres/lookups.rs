//! The bulk lookups of a pipeline: [`lookups!`](crate::lookups) declares what it wants to know, and
//! [`PostgresLookups`] fetches it, all queries in one flight on one connection.

use std::hash::Hash;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use diesel::QueryResult;
use diesel_async::AsyncPgConnection;
use futures_util::future::BoxFuture;
use hashbrown::{HashMap, HashSet};
use longshore_actors::error::StoreError;
use longshore_actors::pipeline::{Context, Keys, KeysOf, Pipeline};
use longshore_actors::ports::Lookups;

use super::errors;
use super::pool::QueryPool;
use super::repeats::Repeats;

/// A context that can be looked up in bulk. Implemented by [`lookups!`](crate::lookups).
pub trait LoadContext: Context + Sized {
    /// What is known when nothing was asked for.
    fn nothing() -> Self;

    /// Runs all queries on `conn`, one behind the other without waiting. `probes`: whether to look
    /// up the keys that are only probed for, too.
    fn load<'a>(
        conn: &'a AsyncPgConnection,
        wanted: &'a Self::Keys,
        probes: bool,
    ) -> BoxFuture<'a, QueryResult<Self>>;

    /// Whether a probe found a key; a probe that finds nothing is not worth its time.
    fn found_repeats(&self) -> bool;
}

impl LoadContext for () {
    fn nothing() {}

    fn load<'a>(_: &'a AsyncPgConnection, (): &'a (), _: bool) -> BoxFuture<'a, QueryResult<()>> {
        Box::pin(async { Ok(()) })
    }

    fn found_repeats(&self) -> bool {
        false
    }
}

/// What a lookup found, by key.
#[derive(Clone, Debug)]
pub struct Lookup<K, V>(HashMap<K, V>);

impl<K: Hash + Eq, V> Lookup<K, V> {
    /// What is known under `key`.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.0.get(key)
    }

    /// The number of keys that were found.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K, V> Default for Lookup<K, V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq, V> FromIterator<(K, V)> for Lookup<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(found: I) -> Self {
        Self(found.into_iter().collect())
    }
}

/// Distinct keys: those to look up, or those that a probe found.
#[derive(Clone, Debug)]
pub struct KeySet<K>(HashSet<K>);

impl<K: Hash + Ord + Clone> KeySet<K> {
    /// Asks for `key`.
    pub fn want(&mut self, key: K) {
        self.0.insert(key);
    }

    /// Whether `key` is among them.
    pub fn contains(&self, key: &K) -> bool {
        self.0.contains(key)
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes in the keys of `other`.
    pub fn unite(&mut self, other: &Self) {
        self.0.extend(other.0.iter().cloned());
    }

    /// The keys in order: an index is walked faster by sorted keys.
    pub fn sorted(&self) -> Vec<&K> {
        let mut keys: Vec<_> = self.0.iter().collect();
        keys.sort_unstable();
        keys
    }
}

impl<K> Default for KeySet<K> {
    fn default() -> Self {
        Self(HashSet::new())
    }
}

impl<K: Hash + Eq> FromIterator<K> for KeySet<K> {
    fn from_iter<I: IntoIterator<Item = K>>(keys: I) -> Self {
        Self(keys.into_iter().collect())
    }
}

/// Declares what a pipeline looks up: a struct of what is known, and one of the keys to ask for.
///
/// ```
/// # diesel::table! { shops (id) { id -> BigInt, name -> Text } }
/// # diesel::table! { orders (id) { id -> Uuid } }
/// use diesel::prelude::*;
/// use uuid::Uuid;
///
/// /// A shop, as far as orders care.
/// #[derive(Queryable, Selectable)]
/// #[diesel(table_name = shops)]
/// pub struct Shop {
///     pub name: String,
/// }
///
/// longshore::lookups! {
///     /// What is known about a batch of orders.
///     pub struct Known, keys Wanted {
///         /// The shops that the batch names.
///         pub shops: i64 => Shop in shops::id,
///         /// The orders that are saved already: saving them again is spared.
///         pub saved: Uuid probed in orders::id,
///     }
/// }
/// ```
///
/// In `keys`, a pipeline asks by `wanted.shops.want(id)`; in `work`, it finds by
/// `known.shops.get(&id)` and `known.saved.contains(&id)`. A probe is a hint: it is left out while
/// repeats are rare, and the saving transaction finds every repeat without it.
#[macro_export]
macro_rules! lookups {
    (
        $(#[$attr:meta])*
        $vis:vis struct $known:ident, keys $wanted:ident {
            $(
                $(#[$field_attr:meta])*
                $field_vis:vis $field:ident : $key:ident $(=> $row:ident)? $(probed)?
                    in $table:ident :: $column:ident
            ),+ $(,)?
        }
    ) => {
        $(#[$attr])*
        $vis struct $known {
            $($(#[$field_attr])* $field_vis $field: $crate::__found!($key $($row)?)),+
        }

        #[doc = concat!("The keys to look up for [`", stringify!($known), "`].")]
        #[derive(Default)]
        $vis struct $wanted {
            $($(#[$field_attr])* $field_vis $field: $crate::postgres::lookups::KeySet<$key>),+
        }

        const _: () = {
            use $crate::postgres::context;
            use $crate::postgres::lookups::LoadContext;
            use $crate::postgres::reexport::actors::pipeline::{Context, Keys, Pipeline};
            use $crate::postgres::reexport::diesel::QueryResult;
            use $crate::postgres::reexport::diesel_async::AsyncPgConnection;
            use $crate::postgres::reexport::futures_util;

            impl Context for $known {
                type Keys = $wanted;
            }

            impl Keys for $wanted {
                fn unite(&mut self, other: &Self) {
                    $(self.$field.unite(&other.$field);)+
                }

                fn is_empty(&self) -> bool {
                    true $(&& self.$field.is_empty())+
                }
            }

            impl LoadContext for $known {
                fn nothing() -> Self {
                    $known { $($field: Default::default()),+ }
                }

                fn load<'a>(
                    conn: &'a AsyncPgConnection,
                    wanted: &'a $wanted,
                    probes: bool,
                ) -> futures_util::future::BoxFuture<'a, QueryResult<Self>> {
                    $(let $field = async move {
                        let keys = &wanted.$field;
                        $crate::__look_up!(conn, keys, probes, $table $column, $key $($row)?)
                    };)+
                    Box::pin(async move {
                        let ($($field,)+) = futures_util::try_join!($($field),+)?;
                        Ok($known { $($field),+ })
                    })
                }

                fn found_repeats(&self) -> bool {
                    false $(|| $crate::__is_repeat!(self.$field, $($row)?))+
                }
            }

            impl context::PostgresContext for $known {
                fn source<P: Pipeline<Context = Self>>(
                    parts: &context::ContextParts,
                ) -> context::Source<P> {
                    context::lookups(parts)
                }
            }
        };
    };
}

/// The type of what a lookup found: a map, or a set for a probe.
#[doc(hidden)]
#[macro_export]
macro_rules! __found {
    ($key:ident $row:ident) => { $crate::postgres::lookups::Lookup<$key, $row> };
    ($key:ident) => { $crate::postgres::lookups::KeySet<$key> };
}

/// One query of a lookup.
#[doc(hidden)]
#[macro_export]
macro_rules! __look_up {
    (
        $conn:ident, $keys:ident, $probes:ident, $table:ident $column:ident, $key:ident $row:ident
    ) => {{
        use $crate::postgres::reexport::diesel::{ExpressionMethods, QueryDsl, SelectableHelper};
        if $keys.is_empty() {
            return Ok(Default::default());
        }
        let query = $table::table
            .filter($table::$column.eq_any($keys.sorted()))
            .select(($table::$column, <$row as SelectableHelper<_>>::as_select()));
        // By its full name: the caller may have diesel's own trait of this name in scope.
        let found: Vec<($key, $row)> =
            $crate::postgres::reexport::diesel_async::RunQueryDsl::load(query, &mut &*$conn)
                .await?;
        QueryResult::Ok(found.into_iter().collect())
    }};
    ($conn:ident, $keys:ident, $probes:ident, $table:ident $column:ident, $key:ident) => {{
        use $crate::postgres::reexport::diesel::{ExpressionMethods, QueryDsl};
        if $keys.is_empty() || !$probes {
            return Ok(Default::default());
        }
        let query =
            $table::table.filter($table::$column.eq_any($keys.sorted())).select($table::$column);
        let found: Vec<$key> =
            $crate::postgres::reexport::diesel_async::RunQueryDsl::load(query, &mut &*$conn)
                .await?;
        QueryResult::Ok(found.into_iter().collect())
    }};
}

/// Whether a probe (not a lookup of rows) found a key.
#[doc(hidden)]
#[macro_export]
macro_rules! __is_repeat {
    ($found:expr, $row:ident) => {
        false
    };
    ($found:expr,) => {
        !$found.is_empty()
    };
}

/// The lookups of pipeline `P`, from a pool of connections of their own.
pub struct PostgresLookups<P> {
    pool: QueryPool,
    repeats: Arc<Repeats>,
    pipeline: PhantomData<fn() -> P>,
}

impl<P: Pipeline> PostgresLookups<P>
where
    P::Context: LoadContext,
{
    /// Lookups through `pool`. `repeats` is shared with the store, which notices when probing pays.
    pub fn new(pool: QueryPool, repeats: Arc<Repeats>) -> Self {
        Self { pool, repeats, pipeline: PhantomData }
    }
}

impl<P: Pipeline> Lookups<P> for PostgresLookups<P>
where
    P::Context: LoadContext,
{
    fn load<'a>(&'a self, keys: &'a KeysOf<P>) -> BoxFuture<'a, Result<P::Context, StoreError>> {
        Box::pin(async move {
            if keys.is_empty() {
                return Ok(P::Context::nothing());
            }
            let conn = self.pool.get().await?;
            let probes = self.repeats.probing_pays();
            let context = P::Context::load(conn.deref(), keys, probes).await;
            let context = context.map_err(|error| errors::of_query(&error))?;
            if probes {
                self.repeats.probed(context.found_repeats());
            }
            Ok(context)
        })
    }
}
