//! The bulk lookups of a pipeline: [`lookups!`](crate::lookups) declares what it wants to know, and
//! [`PostgresLookups`] fetches it, all queries in one flight on one connection.

mod cache;
mod found;
mod freshness;
mod frozen;
mod generation;
mod keys;
mod whole;

use std::ops::Deref;
use std::sync::Arc;

use diesel::QueryResult;
use diesel_async::AsyncPgConnection;
use futures_util::future::BoxFuture;
use longshore_actors::error::StoreError;
use longshore_actors::pipeline::{Context, Keys, KeysOf, Pipeline};
use longshore_actors::ports::Lookups;

use super::errors;
use super::pool::QueryPool;
use super::repeats::Repeats;

pub use self::cache::Cache;
pub use self::found::Lookup;
pub use self::freshness::{Freshness, LookupRules};
pub use self::keys::{KeySet, WantedKeys};

/// A context that can be looked up in bulk. Implemented by [`lookups!`](crate::lookups).
pub trait LoadContext: Context + Sized {
    /// What is kept of its lookups, each under its rule.
    type Caches: Send + Sync + 'static;

    /// Keeps nothing yet.
    fn caches(rules: &LookupRules) -> Self::Caches;

    /// What is known when nothing was asked for.
    fn nothing() -> Self;

    /// Reads what is missing in `caches` on `conn`, all queries one behind the other without
    /// waiting. `probes`: whether to look up the keys that are only probed for, too.
    fn load<'a>(
        conn: &'a AsyncPgConnection,
        wanted: &'a Self::Keys,
        caches: &'a Self::Caches,
        probes: bool,
    ) -> BoxFuture<'a, QueryResult<Self>>;

    /// Whether a probe found a key; a probe that finds nothing is not worth its time.
    fn found_repeats(&self) -> bool;
}

impl LoadContext for () {
    type Caches = ();

    fn caches(_: &LookupRules) {}

    fn nothing() {}

    fn load<'a>(
        _: &'a AsyncPgConnection,
        (): &'a (),
        (): &'a (),
        _: bool,
    ) -> BoxFuture<'a, QueryResult<()>> {
        Box::pin(async { Ok(()) })
    }

    fn found_repeats(&self) -> bool {
        false
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
/// `known.shops.get(&id)` and `known.saved.contains(&id)`. A row is read for the batch, unless the
/// configuration lets it be of some age ([`Freshness`]); a key without a row is always asked for. A
/// probe is a hint: it is left out while repeats are rare, and the saving transaction finds every
/// repeat without it.
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
            $($(#[$field_attr])* $field_vis $field: $crate::postgres::lookups::WantedKeys<$key>),+
        }

        const _: () = {
            use $crate::postgres::context;
            use $crate::postgres::lookups::{LoadContext, LookupRules};
            use $crate::postgres::reexport::actors::pipeline::{Context, Keys, Pipeline};
            use $crate::postgres::reexport::diesel::QueryResult;
            use $crate::postgres::reexport::diesel_async::AsyncPgConnection;
            use $crate::postgres::reexport::futures_util;

            impl Context for $known {
                type Keys = $wanted;

                fn is_far(&self) -> bool {
                    false $(|| self.$field.is_far())+
                }

                fn bring_near(&self, keys: &$wanted) {
                    $(self.$field.bring_near(&keys.$field);)+
                }
            }

            impl Keys for $wanted {
                fn unite(&mut self, other: &Self) {
                    $(self.$field.unite(&other.$field);)+
                }

                fn is_empty(&self) -> bool {
                    true $(&& self.$field.is_empty())+
                }
            }

            #[doc(hidden)]
            #[allow(missing_docs)]
            pub struct Caches {
                $($field: $crate::__cache!($key $($row)?)),+
            }

            impl LoadContext for $known {
                type Caches = Caches;

                fn caches(rules: &LookupRules) -> Caches {
                    Caches { $($field: $crate::__new_cache!(rules $field $table $($row)?)),+ }
                }

                fn nothing() -> Self {
                    $known { $($field: Default::default()),+ }
                }

                fn load<'a>(
                    conn: &'a AsyncPgConnection,
                    wanted: &'a $wanted,
                    caches: &'a Caches,
                    probes: bool,
                ) -> futures_util::future::BoxFuture<'a, QueryResult<Self>> {
                    $(let $field = async move {
                        let (keys, cache) = (&wanted.$field, &caches.$field);
                        $crate::__look_up!(
                            conn, keys, cache, probes, $table $column, $key $($row)?
                        )
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
                const LOOKUPS: &'static [&'static str] =
                    &[$($crate::__lookup_name!($field $($row)?)),+];

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

/// The type of what is kept of a lookup: nothing of a probe.
#[doc(hidden)]
#[macro_export]
macro_rules! __cache {
    ($key:ident $row:ident) => { $crate::postgres::lookups::Cache<$key, $row> };
    ($key:ident) => { () };
}

/// Keeps nothing yet.
#[doc(hidden)]
#[macro_export]
macro_rules! __new_cache {
    ($rules:ident $field:ident $table:ident $row:ident) => {{
        let table = $crate::postgres::table::SqlTable::of(&$table::table, &[], &[]);
        $crate::postgres::lookups::Cache::new($rules, stringify!($field), table.name())
    }};
    ($rules:ident $field:ident $table:ident) => {
        ()
    };
}

/// The name of a lookup that may be kept; of a probe, nothing.
#[doc(hidden)]
#[macro_export]
macro_rules! __lookup_name {
    ($field:ident $row:ident) => {
        stringify!($field)
    };
    ($field:ident) => {
        ""
    };
}

/// One query of a lookup.
#[doc(hidden)]
#[macro_export]
macro_rules! __look_up {
    (
        $conn:ident, $keys:ident, $cache:ident, $probes:ident,
        $table:ident $column:ident, $key:ident $row:ident
    ) => {{
        let _ = $probes;
        $cache
            .look_up($conn, $keys, |keys| {
                use $crate::postgres::reexport::diesel::{
                    ExpressionMethods, QueryDsl, SelectableHelper,
                };
                // By its full name: the caller may have diesel's own trait of this name in scope.
                use $crate::postgres::reexport::diesel_async::RunQueryDsl as Run;
                let row = <$row as SelectableHelper<_>>::as_select;
                let rows = $table::table.select(($table::$column, row()));
                Box::pin(async move {
                    match keys {
                        Some(keys) => {
                            let rows = rows.filter($table::$column.eq_any(keys));
                            Run::load::<($key, $row)>(rows, &mut &*$conn).await
                        }
                        None => Run::load::<($key, $row)>(rows, &mut &*$conn).await,
                    }
                })
            })
            .await
    }};
    (
        $conn:ident, $keys:ident, $cache:ident, $probes:ident,
        $table:ident $column:ident, $key:ident
    ) => {{
        use $crate::postgres::reexport::diesel::{ExpressionMethods, QueryDsl};
        let () = $cache;
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
pub struct PostgresLookups<P: Pipeline<Context: LoadContext>> {
    pool: QueryPool,
    repeats: Arc<Repeats>,
    caches: Arc<<P::Context as LoadContext>::Caches>,
}

impl<P: Pipeline<Context: LoadContext>> PostgresLookups<P> {
    /// Lookups through `pool`. `repeats` is shared with the store, which notices when probing pays;
    /// `rules` say what is kept.
    pub fn new(pool: QueryPool, repeats: Arc<Repeats>, rules: &LookupRules) -> Self {
        Self { pool, repeats, caches: Arc::new(P::Context::caches(rules)) }
    }
}

impl<P: Pipeline<Context: LoadContext>> Lookups<P> for PostgresLookups<P> {
    fn load(&self, keys: Arc<KeysOf<P>>) -> BoxFuture<'_, Result<P::Context, StoreError>> {
        Box::pin(async move {
            if keys.is_empty() {
                return Ok(P::Context::nothing());
            }
            let conn = self.pool.get().await?;
            let (probes, caches) = (self.repeats.probing_pays(), self.caches.clone());
            // Rows come a few at a time. Read by the thread that their socket wakes, they do not
            // wake another one as often.
            let loading = self
                .pool
                .run(async move { P::Context::load(conn.deref(), &keys, &caches, probes).await });
            let context = loading.await.map_err(|error| errors::of_query(&error))?;
            if probes {
                self.repeats.probed(context.found_repeats());
            }
            Ok(context)
        })
    }
}
