//! A small table that is kept as a whole, as long as the server says that nothing in it has
//! changed. To ask that costs the server a fifth of what it costs to find a batch's keys one by
//! one, and us next to nothing.
//!
//! # Why what is kept is what a read would give
//! Let T be a snapshot that was taken before the table was read. A row version whose `xmin` is
//! older than every transaction that was under way in T was committed before T; if it is there now,
//! it was there when the table was read. So where as many such versions are there now as rows were
//! read, they are just those that were read: none of these was updated or deleted meanwhile. Rows
//! that were inserted meanwhile are not known: a key without a row is read by itself.
//!
//! Of a plain table alone this holds. Rows that others have put together (views, foreign tables),
//! children, or policies may come and go without a new version, and so may values of types that
//! are not the server's own. A column may change by its name: the table's definition has to be
//! older than T as well. Whatever does not hold, the rows are dropped, and read by their keys.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::frozen::FrozenRows;

/// Rows that the server looks at in the time in which it finds one by its key.
const ROWS_PER_KEY: usize = 24;

/// The largest table that is kept, as the server stores it. What `memory` bounds does not hold it.
const BYTES_MAX: i64 = 8 << 20;

/// Rows that are read by their keys before a table is looked at.
const FIRST_LOOK: usize = 5_000;

/// How long a table is kept at most: transactions are counted in 32 bits, half of them "older".
const KEPT_MAX: Duration = Duration::from_secs(3600);

/// How often the patience is doubled, at most, with a table that changes all the time.
const DOUBLED_MAX: u32 = 8;

/// See the module.
pub(super) struct WholeTable<K, V> {
    /// As SQL says it.
    name: String,
    rows_max: usize,
    state: Mutex<State<K, V>>,
}

struct State<K, V> {
    kept: Option<Arc<Whole<K, V>>>,
    /// Rows that were read by their keys since the table was read last.
    read: usize,
    /// So many are read before it is worth its while to read all.
    patience: usize,
    /// How often in a row it was read in vain.
    in_vain: u32,
}

/// All rows of the table.
struct Whole<K, V> {
    rows: Arc<FrozenRows<K, V>>,
    read: Read,
    read_at: Instant,
    /// When it was last asked for with the answer that nothing has changed.
    sound_at: Mutex<Option<Instant>>,
}

/// What is known of a reading.
#[derive(QueryableByName)]
struct Read {
    /// The oldest transaction that was under way when it began.
    #[diesel(sql_type = Text)]
    since: String,
    /// The table's own number: another one may come under its name.
    #[diesel(sql_type = Text)]
    oid: String,
    /// The server's start: another server may come under its address.
    #[diesel(sql_type = Text)]
    server: String,
}

/// Whether a table may be kept, and how large it is.
#[derive(QueryableByName)]
struct Look {
    #[diesel(sql_type = Bool)]
    is_plain: bool,
    #[diesel(sql_type = BigInt)]
    bytes: i64,
    #[diesel(sql_type = BigInt)]
    rows: i64,
}

#[derive(QueryableByName)]
struct Answer {
    #[diesel(sql_type = Bool)]
    is_sound: bool,
}

impl<K: std::hash::Hash + Eq, V> WholeTable<K, V> {
    /// The table `name`, kept if it has no more rows than this.
    pub(super) fn new(name: &str, rows_max: usize) -> Self {
        let patience = if rows_max == 0 { usize::MAX } else { FIRST_LOOK };
        let state = State { kept: None, read: 0, patience, in_vain: 0 };
        Self { name: name.to_owned(), rows_max, state: Mutex::new(state) }
    }

    /// All rows, if they are kept and are those that were there `max_age` ago or later. `wanted`
    /// keys are looked for.
    pub(super) async fn rows(
        &self,
        conn: &AsyncPgConnection,
        wanted: usize,
        max_age: Duration,
    ) -> Option<Arc<FrozenRows<K, V>>> {
        let whole = self.lock().kept.clone()?;
        let asked_at = Instant::now();
        if whole.sound_at().is_some_and(|sound_at| asked_at - sound_at <= max_age) {
            return Some(whole.rows.clone());
        }
        if whole.rows.len() > wanted.saturating_mul(ROWS_PER_KEY) {
            return None;
        }
        // An error is met again by whoever reads the rows by their keys.
        let is_young = asked_at - whole.read_at < KEPT_MAX;
        if is_young && self.is_sound(conn, &whole).await.unwrap_or(false) {
            *whole.sound_at() = Some(asked_at);
            return Some(whole.rows.clone());
        }
        self.drop_rows(&whole);
        None
    }

    /// Whether it is kept, be it larger than it is worth to ask for just now.
    pub(super) fn is_kept(&self) -> bool {
        self.lock().kept.is_some()
    }

    /// Takes in that `rows` were read by their keys which are not kept.
    pub(super) fn note_read(&self, rows: usize) {
        let mut state = self.lock();
        state.read = state.read.saturating_add(rows);
    }

    /// Reads the table by `read_all` if reading it by keys has come to cost as much. If that does
    /// not go well, it is tried again later.
    pub(super) async fn keep<'c>(
        &self,
        conn: &'c AsyncPgConnection,
        read_all: impl FnOnce() -> BoxFuture<'c, QueryResult<Vec<(K, V)>>>,
    ) {
        if !self.is_worth_a_look() {
            return;
        }
        if let Err(error) = self.try_keep(conn, read_all).await {
            tracing::debug!(table = self.name, %error, "read by its keys");
            self.lock().be_patient_for(FIRST_LOOK);
        }
    }

    async fn try_keep<'c>(
        &self,
        conn: &'c AsyncPgConnection,
        read_all: impl FnOnce() -> BoxFuture<'c, QueryResult<Vec<(K, V)>>>,
    ) -> QueryResult<()> {
        let look = self.look(conn).await?;
        let rows = usize::try_from(look.rows).unwrap_or(usize::MAX);
        if !look.is_plain || look.bytes > BYTES_MAX || rows > self.rows_max {
            self.lock().patience = usize::MAX;
            return Ok(());
        }
        if !self.is_patient_for(rows) {
            return Ok(());
        }
        let read: Read = diesel::sql_query(format!(
            "select pg_snapshot_xmin(pg_current_snapshot())::text as since, \
             {}::regclass::oid::text as oid, pg_postmaster_start_time()::text as server",
            self.literal()
        ))
        .get_result(&mut &*conn)
        .await?;
        let read_at = Instant::now();
        let rows: FrozenRows<K, V> = read_all().await?.into_iter().collect();
        // It may have grown since it was looked at.
        if rows.len() <= self.rows_max {
            let (rows, sound_at) = (Arc::new(rows), Mutex::default());
            self.lock().kept = Some(Arc::new(Whole { rows, read, read_at, sound_at }));
        }
        Ok(())
    }

    /// Whether so much was read by keys that somebody should look; nobody else does meanwhile.
    fn is_worth_a_look(&self) -> bool {
        let mut state = self.lock();
        let is_worth = state.read >= state.patience;
        if is_worth {
            state.read = 0;
        }
        is_worth
    }

    /// Whether to read `rows` now; else later.
    fn is_patient_for(&self, rows: usize) -> bool {
        let mut state = self.lock();
        let before = state.patience;
        state.patience = rows.max(FIRST_LOOK).saturating_mul(1 << state.in_vain);
        before >= rows
    }

    fn drop_rows(&self, whole: &Arc<Whole<K, V>>) {
        let mut state = self.lock();
        if state.kept.take_if(|kept| Arc::ptr_eq(kept, whole)).is_none() {
            return;
        }
        if whole.sound_at().is_some() {
            state.in_vain = 0;
            state.patience = whole.rows.len().max(FIRST_LOOK);
        } else {
            state.be_patient_for(whole.rows.len());
        }
    }

    async fn look(&self, conn: &AsyncPgConnection) -> QueryResult<Look> {
        let (name, most) = (&self.name, self.rows_max.saturating_add(1));
        diesel::sql_query(format!(
            "select c.relkind = 'r' and c.relpersistence = 'p' and not c.relrowsecurity \
               and not c.relhassubclass and has_table_privilege(c.oid, 'select') \
               and current_setting('server_version_num')::int >= 130000 \
               and not exists (select from pg_attribute a join pg_type t on t.oid = a.atttypid \
                   where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped \
                     and (t.oid >= 16384 \
                       or coalesce(to_jsonb(a) ->> 'attgenerated', '') <> '')) as is_plain, \
               pg_table_size(c.oid) as bytes, \
               (select count(*) from (select from {name} limit {most}) r) as rows \
             from pg_class c where c.oid = {}::regclass",
            self.literal()
        ))
        .get_result(&mut &*conn)
        .await
    }

    /// Asks the server whether all rows that were read are there still.
    async fn is_sound(&self, conn: &AsyncPgConnection, whole: &Whole<K, V>) -> QueryResult<bool> {
        // Not by a join with `old`: that doubles what each row costs.
        let answer: Answer = diesel::sql_query(format!(
            "select {literal}::regclass::oid::text = $2 and pg_postmaster_start_time()::text = $3 \
               and not exists (select from pg_class \
                   where oid = $2::oid and age(xmin) <= (select {old})) \
               and not exists (select from pg_attribute \
                   where attrelid = $2::oid and age(xmin) <= (select {old})) \
               and (select count(*) from {name} where age(xmin) > (select {old})) = $4 as is_sound",
            old = "age($1::xid8::xid)",
            literal = self.literal(),
            name = self.name,
        ))
        .bind::<Text, _>(&whole.read.since)
        .bind::<Text, _>(&whole.read.oid)
        .bind::<Text, _>(&whole.read.server)
        .bind::<BigInt, _>(whole.rows.len() as i64)
        .get_result(&mut &*conn)
        .await?;
        Ok(answer.is_sound)
    }

    /// The table's name as a text in SQL.
    fn literal(&self) -> String {
        format!("'{}'", self.name.replace('\'', "''"))
    }

    fn lock(&self) -> MutexGuard<'_, State<K, V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, V> State<K, V> {
    /// It was in vain once more to read a table of so many rows.
    fn be_patient_for(&mut self, rows: usize) {
        self.in_vain = (self.in_vain + 1).min(DOUBLED_MAX);
        self.patience = rows.max(FIRST_LOOK).saturating_mul(1 << self.in_vain);
    }
}

impl<K, V> Whole<K, V> {
    fn sound_at(&self) -> MutexGuard<'_, Option<Instant>> {
        self.sound_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
