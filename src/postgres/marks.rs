//! The marks in a partition's row: that work is in hand, and which record is tried by itself; see
//! [`longshore_actors::caution`].

use std::sync::Arc;

use diesel::dsl::{case_when, now};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use longshore_actors::error::StoreError;
use longshore_actors::fence::Fence;
use longshore_actors::record::Offset;

use super::errors;
use super::pool::QueryPool;
use super::schema::offsets::dsl;

/// Sets and clears the marks of one group's partitions.
pub(super) struct Marks {
    /// Short queries, on the connections that lookups use: an acquire that waits for a lock must
    /// not hold up partitions that are ours.
    pub(super) pool: QueryPool,
    /// The consumer group.
    pub(super) group: String,
}

impl Marks {
    /// See [`longshore_actors::ports::Store::begin_work`].
    pub(super) async fn begin_work(
        &self,
        fence: &Fence,
        named: Option<Offset>,
    ) -> Result<bool, StoreError> {
        let Some(position) = fence.position() else { return Ok(false) };
        let (partition, named) = (fence.partition(), named.map(|offset| offset.0));
        let mut conn = self.pool.get().await?;
        let row = dsl::offsets
            .find((&self.group, &*partition.topic, partition.index))
            .filter(dsl::epoch.eq(position.epoch));
        let starts =
            case_when(dsl::suspect.is_not_distinct_from(named), dsl::suspect_starts).otherwise(0);
        let marks = (
            dsl::at_work.eq(true),
            dsl::suspect.eq(named),
            dsl::suspect_starts.eq(starts),
            dsl::updated_at.eq(now),
        );
        let marked = diesel::update(row).set(marks).execute(&mut conn).await;
        marked.map(|rows| rows == 1).map_err(|error| errors::of_query(&error))
    }

    /// See [`longshore_actors::ports::Store::rest`].
    pub(super) async fn rest(&self, fences: &[Arc<Fence>]) -> Result<(), StoreError> {
        let mut conn = self.pool.get().await?;
        for fence in fences {
            let (partition, Some(position)) = (fence.partition(), fence.position()) else {
                continue;
            };
            let row = dsl::offsets
                .find((&self.group, &*partition.topic, partition.index))
                .filter(dsl::epoch.eq(position.epoch));
            let rested = diesel::update(row).set(dsl::at_work.eq(false));
            rested.execute(&mut conn).await.map_err(|error| errors::of_query(&error))?;
        }
        Ok(())
    }
}
