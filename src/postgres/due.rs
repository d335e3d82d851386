//! Reads parked records whose turn has come. The head of a lane is its first record that is not
//! dead: nothing of the lane comes before it is due, and what waits behind it comes with it.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Binary, Integer, Jsonb, Nullable, Text, Timestamptz};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use longshore_actors::arena::{RecordArena, RecordParts};
use longshore_actors::error::StoreError;
use longshore_actors::fence::Fence;
use longshore_actors::format::Format;
use longshore_actors::parked::{DueBatch, ParkedRef};
use longshore_actors::record::{Offset, PartitionId};
use serde_json::Value;

use super::errors;
use super::headers;
use super::pool::QueryPool;

/// Partitions of some topics with a head that is due.
const WITH_DUE: &str = r#"
    select p.topic, p.partition
    from longshore.parked_records p
    where p."group" = $1 and p.topic = any($2) and p.state <> 'dead'
      and (p.state = 'waiting' or p.due_at is null or p.due_at <= now())
      and not exists (
        select from longshore.parked_records q
        where q."group" = p."group" and q.topic = p.topic and q.partition = p.partition
          and q.lane_key = p.lane_key and q.state <> 'dead' and q."offset" < p."offset")
    group by p.topic, p.partition"#;

/// What is due of one partition, in offset order: so many records, and so many bytes, though at
/// least one. Sizes are known without reading the values.
const DUE: &str = r#"
    with due as (
      select p.id, p."offset",
        sum(octet_length(coalesce(p.key, '')) + octet_length(coalesce(p.value, '')))
          over (order by p."offset") - octet_length(coalesce(p.value, '')) as bytes_before
      from longshore.parked_records p
      where p."group" = $1 and p.topic = $2 and p.partition = $3 and p.state <> 'dead'
        and case when p.lane_key is null then coalesce(p.due_at, now()) <= now()
          else (
            select head.state = 'waiting' or coalesce(head.due_at, now()) <= now()
            from longshore.parked_records head
            where head."group" = $1 and head.topic = $2 and head.partition = $3
              and head.lane_key = p.lane_key and head.state <> 'dead'
            order by head."offset" limit 1)
          end
      order by p."offset"
      limit $4)
    select p.id, p.attempts, p."offset" as at_offset, p."timestamp" as at_time, p.key, p.value,
      p.headers
    from due join longshore.parked_records p on p.id = due.id
    where due.bytes_before < $5
    order by p."offset""#;

/// The parked records of one group.
pub(super) struct DueRecords {
    /// Short queries, on the connections that lookups use.
    pub(super) pool: QueryPool,
    /// The consumer group.
    pub(super) group: String,
    /// The format of the records' values.
    pub(super) format: Format,
}

#[derive(QueryableByName)]
struct WithDue {
    #[diesel(sql_type = Text)]
    topic: String,
    #[diesel(sql_type = Integer)]
    partition: i32,
}

#[derive(QueryableByName)]
struct Due {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Integer)]
    attempts: i32,
    #[diesel(sql_type = BigInt)]
    at_offset: i64,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    at_time: Option<DateTime<Utc>>,
    #[diesel(sql_type = Nullable<Binary>)]
    key: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Binary>)]
    value: Option<Vec<u8>>,
    #[diesel(sql_type = Jsonb)]
    headers: Value,
}

/// The partitions of `topics` that have records whose turn has come.
pub(super) async fn partitions_with_due(
    conn: &mut AsyncPgConnection,
    group: &str,
    topics: &[&str],
) -> Result<HashSet<(String, i32)>, StoreError> {
    let query = sql_query(WITH_DUE).bind::<Text, _>(group).bind::<Array<Text>, _>(topics);
    let found: Result<Vec<WithDue>, _> = query.load(conn).await;
    let found = found.map_err(|error| errors::of_query(&error))?;
    Ok(found.into_iter().map(|found| (found.topic, found.partition)).collect())
}

impl DueRecords {
    /// See [`longshore_actors::ports::Store::due`].
    pub(super) async fn read(
        &self,
        fence: &Fence,
        records: usize,
        bytes: usize,
    ) -> Result<Option<DueBatch>, StoreError> {
        let partition = fence.partition();
        let mut conn = self.pool.get().await?;
        let query = sql_query(DUE)
            .bind::<Text, _>(&self.group)
            .bind::<Text, _>(&*partition.topic)
            .bind::<Integer, _>(partition.index)
            .bind::<BigInt, _>(i64::try_from(records).unwrap_or(i64::MAX))
            .bind::<BigInt, _>(i64::try_from(bytes).unwrap_or(i64::MAX));
        let due: Result<Vec<Due>, _> = query.load(&mut conn).await;
        let due = due.map_err(|error| errors::of_query(&error))?;
        Ok((!due.is_empty()).then(|| self.batch(partition, &due)))
    }

    fn batch(&self, partition: &PartitionId, due: &[Due]) -> DueBatch {
        let mut arena = RecordArena::with_capacity(due.len(), 0, self.format).of(partition);
        for record in due {
            arena.push(RecordParts {
                offset: Offset(record.at_offset),
                timestamp_ms: record.at_time.map(|time| time.timestamp_millis()),
                key: record.key.as_deref(),
                value: record.value.as_deref(),
            });
            headers::push(&mut arena, &record.headers);
        }
        let row = |record: &Due| ParkedRef {
            id: record.id,
            attempts: u32::try_from(record.attempts).unwrap_or(0),
        };
        DueBatch { arena, rows: due.iter().map(row).collect() }
    }
}
