//! Context that the records themselves change: [`own_writes!`](crate::own_writes) declares what is
//! read and locked, and what a group changes is written back in the transaction that read it.

use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use deadpool_postgres::ClientWrapper;
use futures_util::future::BoxFuture;
use hashbrown::HashMap;
use longshore_actors::batch::Batch;
use longshore_actors::error::{EncodeError, SaveError};
use longshore_actors::pipeline::{Context, KeysOf, Pipeline};
use longshore_actors::ports::{Opened, OwnWrites, SessionId};
use longshore_actors::rows::{Row, RowBuffer};

use super::errors::Failure;
use super::store::PostgresStore;

pub use super::saved_keys::SavedKeys;

/// A context that is read in the transaction that saves what it comes to. Implemented by
/// [`own_writes!`](crate::own_writes).
pub trait LoadOwn: Context + Sized {
    /// Reads everything over `client`, in its open transaction: locks first, each table's rows in
    /// the order of their keys, then the rest. `probes`: whether to look for saved keys, too; left
    /// out, a repeat is found when it is saved, and the group is done again.
    fn load<'a>(
        client: &'a ClientWrapper,
        wanted: &'a Self::Keys,
        probes: bool,
    ) -> BoxFuture<'a, Result<Self, Failure>>;

    /// Whether it has found a saved key, while no record was worked yet.
    fn found_repeats(&self) -> bool;
}

/// Rows that are locked from their reading to the COMMIT, by key. A record may change them; the
/// next one of the group sees it. What a record changed is taken back if it is not saved.
#[derive(Debug)]
pub struct Locked<K, V>(Mutex<LockedRows<K, V>>);

#[derive(Debug)]
struct LockedRows<K, V> {
    rows: HashMap<K, LockedRow<V>>,
    /// What the record in hand has changed, as it was before.
    undo: Vec<(K, V)>,
    scratch: (BytesMut, Vec<u8>),
}

#[derive(Debug)]
struct LockedRow<V> {
    row: V,
    /// The last record of the group that changed it.
    changed_by: Option<u32>,
}

impl<K: Hash + Ord + Clone, V: Row + Clone> Locked<K, V> {
    /// The row under `key` as it is now.
    pub fn get(&self, key: &K) -> Option<V> {
        self.lock().rows.get(key).map(|locked| locked.row.clone())
    }

    /// Changes the row under `key`, if the record is saved.
    ///
    /// # Panics
    /// If there is no such row, which [`Locked::get`] tells.
    pub fn change(&self, key: K, row: V) {
        let rows = &mut *self.lock();
        let locked = rows.rows.get_mut(&key).expect("only a row that is there can be changed");
        rows.undo.push((key, std::mem::replace(&mut locked.row, row)));
    }

    /// Whether what the record in hand has changed can be written.
    #[doc(hidden)]
    pub fn check(&self) -> Result<(), EncodeError> {
        let LockedRows { rows, undo, scratch: (row, key) } = &mut *self.lock();
        for (changed, _) in undo.iter() {
            row.clear();
            key.clear();
            rows[changed].row.encode(row, key)?;
        }
        Ok(())
    }

    /// The record in hand is number `record` of the group, and saved.
    #[doc(hidden)]
    pub fn keep(&self, record: u32) {
        let LockedRows { rows, undo, .. } = &mut *self.lock();
        for (key, _) in undo.drain(..) {
            if let Some(locked) = rows.get_mut(&key) {
                locked.changed_by = Some(record);
            }
        }
    }

    /// The record in hand is not saved.
    #[doc(hidden)]
    pub fn take_back(&self) {
        let LockedRows { rows, undo, .. } = &mut *self.lock();
        // The newest first: a row that was changed twice is as it was before the first time.
        for (key, before) in undo.drain(..).rev() {
            if let Some(locked) = rows.get_mut(&key) {
                locked.row = before;
            }
        }
    }

    /// Writes the changed rows, in the order of their keys, as those of table number `table`.
    #[doc(hidden)]
    pub fn write(&self, into: &mut RowBuffer, table: usize) {
        let rows = &self.lock().rows;
        let changed = rows.iter().filter_map(|(key, row)| Some((key, row, row.changed_by?)));
        let mut changed: Vec<_> = changed.collect();
        changed.sort_unstable_by_key(|(key, ..)| *key);
        for (_, locked, record) in changed {
            into.push(table, record, &locked.row).expect("it was checked with its record");
        }
    }

    fn lock(&self) -> MutexGuard<'_, LockedRows<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq, V> FromIterator<(K, V)> for Locked<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(found: I) -> Self {
        let locked = |(key, row)| (key, LockedRow { row, changed_by: None });
        let rows = found.into_iter().map(locked).collect();
        Self(Mutex::new(LockedRows { rows, undo: Vec::new(), scratch: Default::default() }))
    }
}

/// Declares what a pipeline reads and changes, as [`lookups!`](crate::lookups) declares what it
/// looks up; here it is read, worked and saved in one transaction.
///
/// ```
/// # diesel::table! { wallets (id) { id -> BigInt, coins -> BigInt } }
/// # diesel::table! { spendings (id) { id -> Uuid } }
/// use diesel::prelude::*;
/// use uuid::Uuid;
///
/// longshore::row! {
///     /// A wallet.
///     #[derive(Clone, Queryable, Selectable)]
///     #[diesel(table_name = wallets)]
///     pub struct Wallet in wallets, key (id) {
///         pub id: i64,
///         pub coins: i64,
///     }
/// }
///
/// longshore::own_writes! {
///     /// What a group of spendings reads and changes.
///     pub struct Purse, keys Wanted {
///         locked {
///             /// The wallets that the group names.
///             pub wallets: i64 => Wallet in wallets::id sets (coins),
///         }
///         saved {
///             /// The spendings that are saved already.
///             pub spent: Uuid in spendings::id,
///         }
///     }
/// }
/// ```
///
/// In `work`, `known.wallets.get(&id)` gives the row as the records before have left it, and
/// `known.wallets.change(id, row)` changes it for those behind, if the record is saved. Of each
/// changed row the columns in `sets` are written, once a group. `saved` names the key of the
/// pipeline's first table: it knows what the group itself has saved, too. A third block,
/// `read { .. }`, looks rows up without a lock.
#[macro_export]
macro_rules! own_writes {
    (
        $(#[$attr:meta])*
        $vis:vis struct $known:ident, keys $wanted:ident {
            locked {
                $(
                    $(#[$locked_attr:meta])*
                    $locked_vis:vis $locked:ident : $locked_key:ident => $locked_row:ident
                        in $locked_table:ident :: $locked_column:ident
                        sets ($($set:ident),+)
                ),+ $(,)?
            }
            saved {
                $(#[$saved_attr:meta])*
                $saved_vis:vis $saved:ident : $saved_key:ident
                    in $saved_table:ident :: $saved_column:ident $(,)?
            }
            $(read {
                $(
                    $(#[$read_attr:meta])*
                    $read_vis:vis $read:ident : $read_key:ident => $read_row:ident
                        in $read_table:ident :: $read_column:ident
                ),+ $(,)?
            })?
        }
    ) => {
        $(#[$attr])*
        $vis struct $known {
            $($(#[$locked_attr])* $locked_vis $locked:
                $crate::postgres::own_writes::Locked<$locked_key, $locked_row>,)+
            $(#[$saved_attr])* $saved_vis $saved:
                $crate::postgres::own_writes::SavedKeys<$saved_key>,
            $($($(#[$read_attr])* $read_vis $read:
                $crate::postgres::lookups::Lookup<$read_key, $read_row>,)+)?
        }

        #[doc = concat!("The keys to read for [`", stringify!($known), "`].")]
        #[derive(Default)]
        $vis struct $wanted {
            $($(#[$locked_attr])* $locked_vis $locked:
                $crate::postgres::lookups::WantedKeys<$locked_key>,)+
            $(#[$saved_attr])* $saved_vis $saved: $crate::postgres::lookups::WantedKeys<$saved_key>,
            $($($(#[$read_attr])* $read_vis $read:
                $crate::postgres::lookups::WantedKeys<$read_key>,)+)?
        }

        const _: () = {
            use $crate::postgres::own_writes::LoadOwn;
            use $crate::postgres::reexport::actors::error::EncodeError;
            use $crate::postgres::reexport::actors::pipeline::{Context, Keys, Pipeline};
            use $crate::postgres::reexport::actors::rows::RowBuffer;
            use $crate::postgres::reexport::deadpool_postgres::ClientWrapper;
            use $crate::postgres::reexport::diesel::query_source::Column;
            use $crate::postgres::reexport::diesel::{
                ExpressionMethods, QueryDsl, SelectableHelper,
            };
            use $crate::postgres::reexport::futures_util::{self, future::BoxFuture};
            use $crate::postgres::{context, errors::Failure, row, table::ChangedTable, typed};

            impl Context for $known {
                type Keys = $wanted;
                const OWN_WRITES: bool = true;

                fn keep(&self, record: u32, identity: &[u8]) -> Result<(), EncodeError> {
                    static WIRE: row::WireType =
                        row::WireType::of_column::<$saved_table::$saved_column>();
                    let checked = (|| {
                        $(self.$locked.check()?;)+
                        Ok(())
                    })();
                    if checked.is_ok() {
                        $(self.$locked.keep(record);)+
                        self.$saved.keep(&WIRE, identity);
                    } else {
                        self.take_back();
                    }
                    checked
                }

                fn take_back(&self) {
                    $(self.$locked.take_back();)+
                }

                fn changes(&self) -> RowBuffer {
                    let mut changes = RowBuffer::new([$(stringify!($locked)),+].len());
                    let mut table = 0..;
                    $(self.$locked.write(&mut changes, table.next().unwrap_or(0));)+
                    changes
                }
            }

            impl Keys for $wanted {
                fn unite(&mut self, other: &Self) {
                    $(self.$locked.unite(&other.$locked);)+
                    self.$saved.unite(&other.$saved);
                    $($(self.$read.unite(&other.$read);)+)?
                }

                fn is_empty(&self) -> bool {
                    $(self.$locked.is_empty() &&)+ self.$saved.is_empty()
                        $($(&& self.$read.is_empty())+)?
                }
            }

            impl LoadOwn for $known {
                fn load<'a>(
                    client: &'a ClientWrapper,
                    wanted: &'a $wanted,
                    probes: bool,
                ) -> BoxFuture<'a, Result<Self, Failure>> {
                    $(let $locked = typed::select(
                        $locked_table::table
                            .filter($locked_table::$locked_column.eq_any(wanted.$locked.sorted()))
                            .order_by($locked_table::$locked_column)
                            .for_no_key_update()
                            .select((
                                $locked_table::$locked_column,
                                <$locked_row as SelectableHelper<_>>::as_select(),
                            )),
                    );)+
                    let $saved = probes.then(|| typed::select(
                        $saved_table::table
                            .filter($saved_table::$saved_column.eq_any(wanted.$saved.sorted()))
                            .select($saved_table::$saved_column),
                    ));
                    $($(let $read = typed::select(
                        $read_table::table
                            .filter($read_table::$read_column.eq_any(wanted.$read.sorted()))
                            .select((
                                $read_table::$read_column,
                                <$read_row as SelectableHelper<_>>::as_select(),
                            )),
                    );)+)?
                    Box::pin(async move {
                        $($locked.prepare(client).await?;)+
                        if let Some(saved) = &$saved {
                            saved.prepare(client).await?;
                        }
                        $($($read.prepare(client).await?;)+)?
                        // In one flight, and the server does one after the other: what is read
                        // behind a lock is newer than the lock.
                        let ($($locked,)+ $saved, $($($read,)+)?): (
                            $(Vec<($locked_key, $locked_row)>,)+
                            Vec<$saved_key>,
                            $($(Vec<($read_key, $read_row)>,)+)?
                        ) = futures_util::try_join!(
                            $($locked.load(client),)+
                            async {
                                match $saved {
                                    Some(saved) => saved.load(client).await,
                                    None => Ok(Vec::new()),
                                }
                            },
                            $($($read.load(client),)+)?
                        )?;
                        Ok($known {
                            $($locked: $locked.into_iter().collect(),)+
                            $saved: $saved.into_iter().collect(),
                            $($($read: $read.into_iter().collect(),)+)?
                        })
                    })
                }

                fn found_repeats(&self) -> bool {
                    !self.$saved.is_empty()
                }
            }

            impl context::PostgresContext for $known {
                fn source<P: Pipeline<Context = Self>>(
                    parts: &context::ContextParts,
                ) -> context::Source<P> {
                    context::own_writes(parts)
                }

                fn changed_tables() -> Vec<ChangedTable> {
                    vec![$(ChangedTable::new(
                        <$locked_row as row::TableRow>::table(),
                        &[$(<$locked_table::$set as Column>::NAME),+],
                    )),+]
                }
            }
        };
    };
}

/// The own writes of pipeline `P`, on the saving sessions of its store.
pub(super) struct PostgresOwnWrites(pub(super) Arc<PostgresStore>);

impl<P: Pipeline<Context: LoadOwn>> OwnWrites<P> for PostgresOwnWrites {
    fn open<'a>(
        &'a self,
        session: SessionId,
        group: &'a [Arc<Batch>],
        keys: &'a KeysOf<P>,
    ) -> BoxFuture<'a, Result<Opened<P::Context>, SaveError>> {
        Box::pin(self.0.open_group(session, group, keys))
    }
}
