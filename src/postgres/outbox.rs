//! What is to be published, as the relay reads and marks it: messages of the outbox, and dead
//! records where their pipeline has a dead-letter topic.
//!
//! Messages stay for a day after they were published, so that it can be seen what went out and
//! when; each pass removes some that are older.

mod marks;
mod outgoing;

use std::sync::Arc;

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, Bool, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use longshore_actors::error::StoreError;
use longshore_actors::fence::Fence;
use longshore_actors::publisher::{Outbox, Outgoing, PassLimits, Verdict};

use super::errors;
use super::owner::Owner;
use super::pool::QueryPool;

const IS_LEFT: &str = r#"
    select exists (
        select from longshore.outbox b
        where b."group" = $1 and b.source_topic = any($2)
          and b.published_at is null and b.failed_at is null)
      or $3 and exists (
        select from longshore.parked_records d
        where d."group" = $1 and d.topic = any($2) and d.state = 'dead'
          and d.relayed_at is null and d.relay_error is null) as is_left"#;

/// What one pipeline has to publish.
pub struct PostgresOutbox {
    /// A connection of its own: marks wait for the saves of their partitions.
    pub pool: QueryPool,
    /// The consumer group.
    pub group: String,
    /// Who we are.
    pub owner: Owner,
    /// Where dead records go; `None`: nowhere.
    pub dead_letter_topic: Option<String>,
}

#[derive(QueryableByName)]
struct Left {
    #[diesel(sql_type = Bool)]
    is_left: bool,
}

/// The partitions that we hold, as columns.
#[derive(Default)]
struct Columns<'a> {
    topics: Vec<&'a str>,
    partitions: Vec<i32>,
    epochs: Vec<i64>,
}

impl<'a> Columns<'a> {
    /// Those of `fences`, in their places; one that fell has an epoch that nobody has.
    fn of(fences: impl IntoIterator<Item = &'a Arc<Fence>>) -> Self {
        let mut columns = Self::default();
        for fence in fences {
            let position = fence.position().filter(|_| fence.stands());
            columns.topics.push(&fence.partition().topic);
            columns.partitions.push(fence.partition().index);
            columns.epochs.push(position.map_or(-1, |position| position.epoch));
        }
        columns
    }
}

/// Whether anything of `group` is still to be published; dead records count only `with_dead`.
///
/// # Errors
/// The query failed.
pub async fn is_left(
    conn: &mut AsyncPgConnection,
    group: &str,
    topics: &[String],
    with_dead: bool,
) -> Result<bool, StoreError> {
    let query = sql_query(IS_LEFT)
        .bind::<Text, _>(group)
        .bind::<Array<Text>, _>(topics)
        .bind::<Bool, _>(with_dead);
    let left: Result<Left, _> = query.get_result(conn).await;
    left.map(|left| left.is_left).map_err(|error| errors::of_query(&error))
}

impl Outbox for PostgresOutbox {
    fn unpublished<'a>(
        &'a self,
        fences: &'a [Arc<Fence>],
        limits: PassLimits,
    ) -> BoxFuture<'a, Result<Vec<Outgoing>, StoreError>> {
        self.read(fences, limits).boxed()
    }

    fn mark<'a>(
        &'a self,
        fences: &'a [Arc<Fence>],
        verdicts: &'a [Verdict],
    ) -> BoxFuture<'a, Result<usize, StoreError>> {
        self.note(fences, verdicts).boxed()
    }
}
