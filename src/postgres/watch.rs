//! Watching the offset rows of the partitions that we own: whether an operator moved one, another
//! owner took it, or its topic is not the one any more that it is for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use hashbrown::HashMap;
use longshore_actors::error::StoreError;
use longshore_actors::faults;
use longshore_actors::fence::Fence;
use longshore_actors::ports::{Halt, Seen, Stored};
use uuid::Uuid;

use super::budget::Budget;
use super::due;
use super::errors;
use super::owner::Owner;
use super::pipelines;
use super::pool::QueryPool;
use super::schema::offsets::dsl;
use super::starts::Unfit;
use crate::positions::Positions;

/// How often the brokers are asked for the topics' ids. Whatever is read of a topic that was made
/// anew in between is saved at offsets that mean something else: it stops soon after, and says so.
const TOPIC_INTERVAL: Duration = Duration::from_secs(2);

/// Watches the rows of one group.
pub(super) struct Watch {
    /// Short queries, on the connections that lookups use.
    pub(super) pool: QueryPool,
    /// The pipeline's name.
    pub(super) pipeline: String,
    /// The consumer group.
    pub(super) group: String,
    /// Who we are.
    pub(super) owner: Owner,
    /// What the broker knows.
    pub(super) positions: Arc<dyn Positions>,
    /// The pipeline's dead-letter budget.
    pub(super) budget: Option<Arc<Budget>>,
    asked_at: Mutex<Option<Instant>>,
}

/// Topic, partition, epoch, owner, the topic's id.
type Row = (String, i32, i64, Option<String>, Option<Uuid>);

/// A row as it stands.
struct RowNow {
    epoch: i64,
    owner: Option<String>,
    topic_id: Option<Uuid>,
}

impl Watch {
    pub(super) fn new(
        pool: QueryPool,
        (pipeline, group): (String, String),
        owner: Owner,
        positions: Arc<dyn Positions>,
        budget: Option<Arc<Budget>>,
    ) -> Self {
        Self { pool, pipeline, group, owner, positions, budget, asked_at: Mutex::default() }
    }

    /// See [`longshore_actors::ports::Store::look`].
    pub(super) async fn look(&self, fences: &[Arc<Fence>]) -> Result<Vec<Seen>, StoreError> {
        let fences: Vec<&Fence> = fences.iter().map(AsRef::as_ref).collect();
        let mut conn = self.pool.get().await?;
        let topics = topics_of(&fences);
        let mut rows = self.rows(&mut conn, &topics).await?;
        let due = due::partitions_with_due(&mut conn, &self.group, &topics).await?;
        let halt = self.halt(&mut conn).await?;
        drop(conn);
        let ids = self.topic_ids(&topics).await;
        let mut judge = |fence: &&Fence| {
            let partition = fence.partition();
            let place = (partition.topic.to_string(), partition.index);
            let row = match rows.remove(&place) {
                Some(row) => self.judge(fence, row, ids.get(&*partition.topic).copied()),
                // A row that is gone is found by the next save, which says so.
                None => Stored::AsLeft,
            };
            Seen { row, is_due: due.contains(&place), halt: halt.clone() }
        };
        Ok(fences.iter().map(&mut judge).collect())
    }

    /// Whether the pipeline is not to read just now, as the database or the budget has it.
    async fn halt(&self, conn: &mut AsyncPgConnection) -> Result<Option<Halt>, StoreError> {
        let before = self.budget.as_ref().map(|budget| budget.before_look());
        let states = pipelines::states(conn, std::slice::from_ref(&self.pipeline)).await?;
        let halt = states
            .into_iter()
            .next()
            .and_then(|now| pipelines::halt(&now.pipeline, &now.state, now.reason.as_deref()));
        Ok(match self.budget.as_ref().zip(before) {
            Some((budget, before)) => budget.heard(before, halt),
            None => halt,
        })
    }

    fn judge(&self, fence: &Fence, seen: RowNow, topic_id: Option<Uuid>) -> Stored {
        let held = fence.position().map(|position| position.epoch);
        match (seen.owner, seen.topic_id, topic_id) {
            _ if faults::bug("fence-off") => Stored::AsLeft,
            (None, ..) => Stored::Moved,
            (Some(owner), ..)
                if *owner != *self.owner.name() && held.is_some_and(|held| held < seen.epoch) =>
            {
                Stored::Taken { owner }
            }
            (_, Some(stored), Some(now)) if stored != now => {
                let unfit = Unfit::Topic { stored, now };
                let reason = unfit.message(&self.pipeline, &self.group, &fence.partition().topic);
                Stored::Unfit { reason }
            }
            _ => Stored::AsLeft,
        }
    }

    async fn rows(
        &self,
        conn: &mut AsyncPgConnection,
        topics: &[&str],
    ) -> Result<HashMap<(String, i32), RowNow>, StoreError> {
        let columns = (dsl::topic, dsl::partition, dsl::epoch, dsl::owner, dsl::topic_id);
        let rows = dsl::offsets
            .filter(dsl::group.eq(&self.group).and(dsl::topic.eq_any(topics)))
            .select(columns)
            .load::<Row>(conn)
            .await
            .map_err(|error| errors::of_query(&error))?;
        let seen = |(topic, partition, epoch, owner, topic_id): Row| {
            ((topic, partition), RowNow { epoch, owner, topic_id })
        };
        Ok(rows.into_iter().map(seen).collect())
    }

    /// The topics' ids now and then; none in between, and none while no broker answers.
    async fn topic_ids(&self, topics: &[&str]) -> HashMap<String, Uuid> {
        {
            let mut asked_at = self.asked_at.lock().unwrap_or_else(PoisonError::into_inner);
            if asked_at.is_some_and(|asked| asked.elapsed() < TOPIC_INTERVAL) {
                return HashMap::new();
            }
            *asked_at = Some(Instant::now());
        }
        let mut ids = HashMap::new();
        for topic in topics.iter().copied() {
            match self.positions.topic_id(topic).await {
                Ok(id) => ids.extend(id.map(|id| (topic.to_string(), id))),
                Err(error) => tracing::debug!(topic, %error, "its id is not known just now"),
            }
        }
        ids
    }
}

fn topics_of<'a>(fences: &[&'a Fence]) -> Vec<&'a str> {
    let mut topics: Vec<_> = fences.iter().map(|fence| &*fence.partition().topic).collect();
    topics.sort_unstable();
    topics.dedup();
    topics
}
