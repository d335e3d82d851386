//! What is stored about partitions, read for the commands: no lock, nothing changed.

use chrono::{DateTime, Utc};
use diesel::dsl::{count_star, sql};
use diesel::prelude::*;
use diesel::sql_types::Bool;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use hashbrown::HashMap;
use longshore_actors::error::StoreError;
use longshore_actors::record::{NextOffset, PartitionId};
use uuid::Uuid;

use super::errors;
use super::schema::{offsets, parked_records};

/// The row of one partition.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = offsets)]
pub struct StoredOffset {
    /// The consumer group.
    pub group: String,
    /// The cluster that the topic lies in; null until it is acquired after an operator's move.
    pub cluster_id: Option<String>,
    /// The topic.
    pub topic: String,
    /// The topic's own id, where the broker has one.
    pub topic_id: Option<Uuid>,
    /// The partition's number.
    pub partition: i32,
    /// The first offset not yet settled.
    pub next_offset: i64,
    /// The owner's number.
    pub epoch: i64,
    /// Who acquired it last; null after an operator moved the offset.
    pub owner: Option<String>,
    /// Records that the group ever settled here.
    pub settled_records: i64,
    /// Those of them that it parked.
    pub parked_records: i64,
    /// When it was changed last.
    pub updated_at: DateTime<Utc>,
}

/// How many records of a partition are parked in one state.
#[derive(Clone, Debug, PartialEq, Eq, Queryable)]
pub struct ParkedCount {
    /// The consumer group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// `retrying`, `waiting` or `dead`.
    pub state: String,
    /// How many.
    pub records: i64,
}

/// All stored offsets of `groups`, by group, topic and partition.
///
/// # Errors
/// The query failed.
pub async fn of_groups(
    conn: &mut AsyncPgConnection,
    groups: &[String],
) -> Result<Vec<StoredOffset>, StoreError> {
    offsets::table
        .filter(offsets::group.eq_any(groups))
        .order((offsets::group, offsets::topic, offsets::partition))
        .select(StoredOffset::as_select())
        .load(conn)
        .await
        .map_err(|error| errors::of_query(&error))
}

/// Whether Longshore's tables are there at all.
///
/// # Errors
/// The query failed.
pub async fn are_migrated(conn: &mut AsyncPgConnection) -> Result<bool, StoreError> {
    let is_there = sql::<Bool>("to_regclass('longshore.offsets') is not null");
    diesel::select(is_there).get_result(conn).await.map_err(|error| errors::of_query(&error))
}

/// The stored position of each partition of `topics` that `group` has one for.
///
/// # Errors
/// The query failed.
pub async fn positions(
    conn: &mut AsyncPgConnection,
    group: &str,
    topics: &[String],
) -> Result<HashMap<PartitionId, NextOffset>, StoreError> {
    let rows: Vec<(String, i32, i64)> = offsets::table
        .filter(offsets::group.eq(group).and(offsets::topic.eq_any(topics)))
        .select((offsets::topic, offsets::partition, offsets::next_offset))
        .load(conn)
        .await
        .map_err(|error| errors::of_query(&error))?;
    let position = |(topic, index, next)| (PartitionId::new(topic, index), NextOffset(next));
    Ok(rows.into_iter().map(position).collect())
}

/// The parked records of `groups`, counted by partition and state.
///
/// # Errors
/// The query failed.
pub async fn parked_counts(
    conn: &mut AsyncPgConnection,
    groups: &[String],
) -> Result<Vec<ParkedCount>, StoreError> {
    let by = (
        parked_records::group,
        parked_records::topic,
        parked_records::partition,
        parked_records::state,
    );
    parked_records::table
        .filter(parked_records::group.eq_any(groups))
        .group_by(by)
        .order(by)
        .select((by.0, by.1, by.2, by.3, count_star()))
        .load(conn)
        .await
        .map_err(|error| errors::of_query(&error))
}
