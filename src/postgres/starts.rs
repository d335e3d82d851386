//! The start of partitions that have no stored offset yet.
//!
//! The first acquire of a topic settles the start of all its partitions in one transaction, whoever
//! is assigned them: `latest` means one moment for all, and a partition that was added later is
//! known by the rows that are there already, and begins at its earliest offset.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use longshore_actors::record::NextOffset;
use tokio_postgres::{Client, Error};
use uuid::Uuid;

use crate::positions::{PartitionPositions, StartPosition, TopicPositions};

/// Topics as the broker describes them now.
pub(super) type Topics = HashMap<Arc<str>, TopicPositions>;

const READ: &str = r#"
    select topic, partition, cluster_id, topic_id from longshore.offsets
    where "group" = $1 and topic = any($2)"#;

/// Settling is done by one at a time for each group. Taken before any row is locked.
const LOCK_GROUP: &str = "select pg_advisory_xact_lock(hashtextextended('longshore ' || $1, 0))";

const INSERT: &str = r#"
    insert into longshore.offsets ("group", cluster_id, topic, topic_id, partition, next_offset)
    select $1, v.* from unnest($2::text[], $3::text[], $4::uuid[], $5::int[], $6::bigint[]) v
    on conflict do nothing"#;

/// Why a topic's stored offsets are not those of the topic that the broker has now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// The topic was made anew.
    Topic { stored: Uuid, now: Uuid },
    /// It is the topic of another cluster.
    Cluster { stored: String, now: String },
}

impl Unfit {
    /// Compares what a row says with what the broker says. Null fits everything.
    pub(super) fn find(
        now: &TopicPositions,
        cluster_id: Option<&str>,
        topic_id: Option<Uuid>,
    ) -> Option<Self> {
        match (cluster_id, topic_id, now.topic_id) {
            (Some(stored), _, _) if stored != now.cluster_id => {
                Some(Self::Cluster { stored: stored.to_owned(), now: now.cluster_id.clone() })
            }
            (_, Some(stored), Some(now)) if stored != now => Some(Self::Topic { stored, now }),
            _ => None,
        }
    }

    /// What is wrong, and the two ways out.
    pub(super) fn message(&self, group: &str, topic: &str) -> String {
        let what = match self {
            Self::Topic { stored, now } => {
                format!("topic {topic} was made anew: its id was {stored} and is {now} now")
            }
            Self::Cluster { stored, now } => {
                format!("topic {topic} was read in cluster {stored}, this is cluster {now}")
            }
        };
        format!(
            "{what}, so the offsets stored for group {group} mean nothing in it. Nothing was \
             changed. To go on with this topic: `longshore offsets set PIPELINE --topic {topic} \
             --to earliest`. To keep the stored offsets: read it under another group name"
        )
    }
}

/// Gives every partition of `topics` that has no row one. Answers with the topics that are not the
/// stored ones: they get none.
pub(super) async fn settle(
    client: &Client,
    group: &str,
    start: StartPosition,
    topics: &Topics,
) -> Result<HashMap<Arc<str>, Unfit>, Error> {
    let known = Known::read(client, group, topics).await?;
    if known.lacking(topics, start).is_empty() {
        return Ok(known.unfit);
    }
    client.batch_execute("begin isolation level read committed").await?;
    client.execute(LOCK_GROUP, &[&group]).await?;
    let known = Known::read(client, group, topics).await?;
    let lacking = known.lacking(topics, start);
    let (mut clusters, mut names, mut ids) = (Vec::new(), Vec::new(), Vec::new());
    let (mut partitions, mut offsets) = (Vec::new(), Vec::new());
    for (topic, described, partition, offset) in &lacking {
        clusters.push(described.cluster_id.as_str());
        names.push(topic.as_ref());
        ids.push(described.topic_id);
        partitions.push(*partition);
        offsets.push(offset.0);
    }
    client.execute(INSERT, &[&group, &clusters, &names, &ids, &partitions, &offsets]).await?;
    client.batch_execute("commit").await?;
    Ok(known.unfit)
}

/// What is stored about some topics.
struct Known {
    partitions: HashMap<Arc<str>, HashSet<i32>>,
    unfit: HashMap<Arc<str>, Unfit>,
}

/// A partition that needs a row, and where it starts.
type Lacking<'a> = (&'a Arc<str>, &'a TopicPositions, i32, NextOffset);

impl Known {
    async fn read(client: &Client, group: &str, topics: &Topics) -> Result<Self, Error> {
        let mut known = Self { partitions: HashMap::new(), unfit: HashMap::new() };
        let names: Vec<&str> = topics.keys().map(AsRef::as_ref).collect();
        for row in client.query(READ, &[&group, &names]).await? {
            let name: &str = row.get(0);
            let Some((topic, described)) = topics.get_key_value(name) else { continue };
            known.partitions.entry(topic.clone()).or_default().insert(row.get(1));
            if let Some(unfit) = Unfit::find(described, row.get(2), row.get(3)) {
                known.unfit.insert(topic.clone(), unfit);
            }
        }
        Ok(known)
    }

    /// The partitions without a row, in the order in which rows are locked.
    fn lacking<'a>(&self, topics: &'a Topics, start: StartPosition) -> Vec<Lacking<'a>> {
        let mut lacking = Vec::new();
        for (topic, described) in
            topics.iter().filter(|(topic, _)| !self.unfit.contains_key(*topic))
        {
            let known = self.partitions.get(topic);
            let start = if known.is_none() { start } else { StartPosition::Earliest };
            for partition in &described.partitions {
                if !known.is_some_and(|known| known.contains(&partition.index)) {
                    lacking.push((topic, described, partition.index, place(partition, start)));
                }
            }
        }
        lacking.sort_by_key(|(topic, _, index, _)| ((*topic).clone(), *index));
        lacking
    }
}

fn place(partition: &PartitionPositions, start: StartPosition) -> NextOffset {
    match start {
        StartPosition::Committed => partition.committed.unwrap_or(partition.earliest),
        StartPosition::Earliest => partition.earliest,
        StartPosition::Latest => partition.end,
    }
}
