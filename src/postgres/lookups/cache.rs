//! What is kept of a lookup: rows that were looked up a moment ago, where rows may be of some age,
//! or its whole table. Only rows are kept: a key without one is asked for each time, so that a row
//! is found once it is there.
//!
//! Rows that were looked up are of one [`Generation`], which is dropped as a whole when the oldest
//! of them may be too old, and begun anew. So no row has a time of its own, and none is ever
//! changed or moved while a batch looks at it. A small table is kept as a [`WholeTable`] when that
//! is cheaper than its rows one by one.

use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use diesel::QueryResult;
use diesel_async::AsyncPgConnection;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::found::{Kept, Lookup};
use super::freshness::{Freshness, LookupRules};
use super::generation::Generation;
use super::keys::{WantedKeys, distinct};
use super::whole::WholeTable;

/// The rows of one lookup that are kept.
pub struct Cache<K, V> {
    whole: WholeTable<K, V>,
    recent: Option<Recent<K, V>>,
}

/// Rows that may be of some age.
struct Recent<K, V> {
    max_age: Duration,
    rows_max: usize,
    newest: Mutex<Option<Newest<K, V>>>,
}

/// The generation that rows are taken into.
struct Newest<K, V> {
    rows: Arc<Generation<K, V>>,
    /// When the first of its rows was asked for, or before that.
    since: Instant,
}

impl<K: Hash + Ord + Clone, V> Cache<K, V> {
    /// For the lookup `name` in `table`, as SQL says it, under `rules`.
    pub fn new(rules: &LookupRules, name: &str, table: &str) -> Self {
        let rows_max = rules.cached_rows;
        let recent = match rules.of(name) {
            Freshness::PerBatch => None,
            Freshness::MaxAge(max_age) => {
                Some(Recent { max_age, rows_max, newest: Mutex::default() })
            }
        };
        Self { whole: WholeTable::new(table, rows_max), recent }
    }

    /// The rows under `wanted`, as fresh as they have to be. `read` reads those of some keys, or
    /// all.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn look_up<'c>(
        &self,
        conn: &'c AsyncPgConnection,
        wanted: &WantedKeys<K>,
        read: impl Fn(Option<Vec<K>>) -> BoxFuture<'c, QueryResult<Vec<(K, V)>>>,
    ) -> QueryResult<Lookup<K, V>> {
        if wanted.is_empty() {
            return Ok(Lookup::default());
        }
        let max_age = self.recent.as_ref().map_or(Duration::ZERO, |recent| recent.max_age);
        self.whole.keep(conn, || read(None)).await;
        let kept = match (self.whole.rows(conn, wanted.len(), max_age).await, &self.recent) {
            (Some(rows), recent) => {
                recent.iter().for_each(Recent::forget);
                Kept::Whole(rows)
            }
            (None, Some(recent)) => Kept::Recent(recent.generation()),
            (None, None) => Kept::Nothing,
        };
        let missing = match kept {
            Kept::Nothing => wanted.sorted(),
            _ => distinct(wanted.iter().filter(|key| !kept.has(key)).cloned().collect()),
        };
        let mut rows = match missing.is_empty() {
            true => Vec::new(),
            false => read(Some(missing)).await?,
        };
        if matches!(kept, Kept::Whole(_)) || !self.whole.is_kept() {
            self.whole.note_read(rows.len());
        }
        if let Kept::Recent(kept) = &kept {
            rows = kept.take_in(rows);
        }
        Ok(Lookup::joined(kept, rows))
    }
}

impl<K: Hash + Eq, V> Recent<K, V> {
    /// The rows that are young enough now.
    fn generation(&self) -> Arc<Generation<K, V>> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let len = match &*newest {
            Some(newest) if now - newest.since <= self.max_age => return newest.rows.clone(),
            Some(newest) => newest.rows.len(),
            None => 0,
        };
        // It will be about as large as the last one.
        let rows = Arc::new(Generation::with_capacity(len, self.rows_max));
        *newest = Some(Newest { rows: rows.clone(), since: now });
        rows
    }

    /// Keeps nothing: the whole table is kept.
    fn forget(&self) {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
