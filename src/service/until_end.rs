//! `--until-end`: where every partition ended at the start, and whether all are saved up to there,
//! whoever owns them.

use std::time::Duration;

use hashbrown::HashMap;
use longshore_actors::error::StoreError;
use longshore_actors::record::{NextOffset, PartitionId};

use crate::config::PipelineConfig;
use crate::positions::TopicPositions;
use crate::postgres::pool::QueryPool;
use crate::postgres::{offsets, outbox, pipelines};

/// How often the stored offsets are looked at.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// The ends of one pipeline's partitions.
pub(super) struct Ends {
    pipeline: String,
    group: String,
    topics: Vec<String>,
    has_dead_letter_topic: bool,
    ends: HashMap<PartitionId, NextOffset>,
}

impl Ends {
    /// The ends as `topics` describes them now.
    pub(super) fn new(pipeline: &PipelineConfig, topics: &[(String, TopicPositions)]) -> Self {
        let ends = topics.iter().flat_map(|(topic, positions)| {
            positions
                .partitions
                .iter()
                .map(|partition| (PartitionId::new(topic.as_str(), partition.index), partition.end))
        });
        Self {
            pipeline: pipeline.name.clone(),
            group: pipeline.group.clone(),
            topics: pipeline.topics.clone(),
            has_dead_letter_topic: pipeline.dead_letter_topic.is_some(),
            ends: ends.collect(),
        }
    }

    /// The end of each partition.
    pub(super) fn all(&self) -> &HashMap<PartitionId, NextOffset> {
        &self.ends
    }

    /// Why the pipeline is stopped, for all instances, if it is.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub(super) async fn stopped(&self, pool: &QueryPool) -> Result<Option<String>, StoreError> {
        let mut conn = pool.get().await?;
        let stopped = pipelines::stopped(&mut conn, std::slice::from_ref(&self.pipeline)).await?;
        Ok(stopped.into_iter().next().map(|(_, reason)| reason))
    }

    /// Whether something that was saved or parked is still to be published.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub(super) async fn is_publishing(&self, pool: &QueryPool) -> Result<bool, StoreError> {
        let mut conn = pool.get().await?;
        outbox::is_left(&mut conn, &self.group, &self.topics, self.has_dead_letter_topic).await
    }

    /// The partitions that are not saved up to their end, or have records that come back.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub(super) async fn missing(&self, pool: &QueryPool) -> Result<Vec<PartitionId>, StoreError> {
        let mut conn = pool.get().await?;
        let stored = offsets::positions(&mut conn, &self.group, &self.topics).await?;
        let is_short = |(id, end): &(&PartitionId, &NextOffset)| {
            stored.get(*id).is_none_or(|next| next < *end)
        };
        let mut missing: Vec<_> =
            self.ends.iter().filter(is_short).map(|(id, _)| id.clone()).collect();
        if missing.is_empty() {
            let group = std::slice::from_ref(&self.group);
            let parked = offsets::parked_counts(&mut conn, group).await?;
            let unsettled = parked.into_iter().filter(|count| count.state != "dead");
            missing.extend(unsettled.map(|count| PartitionId::new(count.topic, count.partition)));
        }
        Ok(missing)
    }
}
