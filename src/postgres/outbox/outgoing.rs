//! Reading what is to be published: rows of the outbox and dead records, as they go out.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Binary, Integer, Jsonb, Nullable, Text, Timestamptz};
use diesel_async::RunQueryDsl;
use longshore_actors::error::StoreError;
use longshore_actors::fence::Fence;
use longshore_actors::publisher::{Kind, Outgoing, OutgoingRow, PassLimits};
use serde_json::Value;

use super::super::{errors, headers};
use super::{Columns, PostgresOutbox};

/// Ours, behind the headers that came with a record. A consumer drops repeats by the id.
const ID: &str = "longshore-id";

/// Messages of one partition that a pass may take in any case.
const EACH_MIN: usize = 20;

/// Messages of some partitions, if they are still ours under these epochs: so many of each, and so
/// many bytes together, though at least one. Sizes are known without reading the values.
const MESSAGES: &str = r#"
    with found as (
      select x.id, p.place, row_number() over (partition by p.place order by x.id) as turn, x.bytes
      from unnest($2, $3, $4) with ordinality p(topic, partition, epoch, place)
      join longshore.offsets o on o."group" = $1 and o.topic = p.topic
        and o.partition = p.partition and o.epoch = p.epoch and o.owner = $5
      cross join lateral (
        select b.id, octet_length(coalesce(b.key, '')) + octet_length(coalesce(b.value, ''))
          + pg_column_size(b.headers) as bytes
        from longshore.outbox b
        where b."group" = $1 and b.source_topic = p.topic and b.source_partition = p.partition
          and b.published_at is null and b.failed_at is null
        order by b.id limit $6) x),
    fitting as (
      select id, place, sum(bytes) over (order by turn, place) - bytes as bytes_before from found)
    select b.id, f.place, b.topic, b.key, b.value, b.headers
    from fitting f join longshore.outbox b on b.id = f.id
    where f.bytes_before < $7
    order by f.place, b.id"#;

/// Dead records in the same way.
const DEAD_LETTERS: &str = r#"
    with found as (
      select x.id, p.place, x.at_offset, x.bytes,
        row_number() over (partition by p.place order by x.at_offset) as turn
      from unnest($2, $3, $4) with ordinality p(topic, partition, epoch, place)
      join longshore.offsets o on o."group" = $1 and o.topic = p.topic
        and o.partition = p.partition and o.epoch = p.epoch and o.owner = $5
      cross join lateral (
        select d.id, d."offset" as at_offset, octet_length(coalesce(d.key, ''))
          + octet_length(coalesce(d.value, '')) + pg_column_size(d.headers) as bytes
        from longshore.parked_records d
        where d."group" = $1 and d.topic = p.topic and d.partition = p.partition
          and d.state = 'dead' and d.relayed_at is null and d.relay_error is null
        order by d."offset" limit $6) x),
    fitting as (
      select id, place, sum(bytes) over (order by turn, place) - bytes as bytes_before from found)
    select d.id, f.place, d.pipeline, d.topic, d.partition, d."offset" as at_offset,
      d."timestamp" as at_time, d.key, d.value, d.headers, d.attempts, d.reason, d.error,
      d.updated_at
    from fitting f join longshore.parked_records d on d.id = f.id
    where f.bytes_before < $7
    order by f.place, d."offset""#;

#[derive(QueryableByName)]
struct MessageRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    place: i64,
    #[diesel(sql_type = Text)]
    topic: String,
    #[diesel(sql_type = Nullable<Binary>)]
    key: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Binary>)]
    value: Option<Vec<u8>>,
    #[diesel(sql_type = Jsonb)]
    headers: Value,
}

#[derive(QueryableByName)]
struct DeadRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    place: i64,
    #[diesel(sql_type = Text)]
    pipeline: String,
    #[diesel(sql_type = Text)]
    topic: String,
    #[diesel(sql_type = Integer)]
    partition: i32,
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
    #[diesel(sql_type = Integer)]
    attempts: i32,
    #[diesel(sql_type = Text)]
    reason: String,
    #[diesel(sql_type = Text)]
    error: String,
    #[diesel(sql_type = Timestamptz)]
    updated_at: DateTime<Utc>,
}

/// A place of SQL, from 1, as one of ours.
fn fence_of(place: i64) -> usize {
    usize::try_from(place - 1).expect("places begin with 1")
}

impl MessageRow {
    fn into_outgoing(self, group: &str) -> Outgoing {
        let mut headers: Vec<_> = headers::from_json(&self.headers).collect();
        headers.push((ID.into(), Some(format!("{group}/{}", self.id).into_bytes())));
        Outgoing {
            row: OutgoingRow { kind: Kind::Outbox, id: self.id, version: 0 },
            fence: fence_of(self.place),
            topic: self.topic,
            key: self.key,
            value: self.value,
            headers,
        }
    }
}

impl DeadRow {
    fn into_outgoing(self, group: &str, topic: &str) -> Outgoing {
        let mut headers: Vec<_> = headers::from_json(&self.headers).collect();
        let version = self.updated_at.timestamp_micros();
        let id = format!("{group}/{}/{}/{}", self.topic, self.partition, self.at_offset);
        let ours = [
            (ID, Some(id)),
            ("longshore-pipeline", Some(self.pipeline)),
            ("longshore-original-topic", Some(self.topic)),
            ("longshore-original-partition", Some(self.partition.to_string())),
            ("longshore-original-offset", Some(self.at_offset.to_string())),
            (
                "longshore-original-timestamp",
                self.at_time.map(|time| time.timestamp_millis().to_string()),
            ),
            ("longshore-reason", Some(self.reason)),
            ("longshore-error", Some(self.error)),
            ("longshore-attempts", Some(self.attempts.to_string())),
        ];
        headers.extend(ours.map(|(name, value)| (name.into(), value.map(String::into_bytes))));
        Outgoing {
            row: OutgoingRow { kind: Kind::DeadLetter, id: self.id, version },
            fence: fence_of(self.place),
            topic: topic.to_owned(),
            key: self.key,
            value: self.value,
            headers,
        }
    }
}

impl PostgresOutbox {
    /// See [`longshore_actors::publisher::Outbox::unpublished`].
    pub(super) async fn read(
        &self,
        fences: &[Arc<Fence>],
        limits: PassLimits,
    ) -> Result<Vec<Outgoing>, StoreError> {
        let mut conn = self.pool.get().await?;
        let owner = self.owner.name();
        let columns = Columns::of(fences);
        // Each partition has its share, so that none waits for the backlog of another.
        let each = (limits.messages / fences.len().max(1)).max(EACH_MIN);
        let query = |sql: &'static str| {
            sql_query(sql)
                .bind::<Text, _>(&self.group)
                .bind::<Array<Text>, _>(&columns.topics)
                .bind::<Array<Integer>, _>(&columns.partitions)
                .bind::<Array<BigInt>, _>(&columns.epochs)
                .bind::<Text, _>(&*owner)
                .bind::<BigInt, _>(i64::try_from(each).unwrap_or(i64::MAX))
                .bind::<BigInt, _>(i64::try_from(limits.bytes).unwrap_or(i64::MAX))
        };
        let messages: Vec<MessageRow> =
            query(MESSAGES).load(&mut conn).await.map_err(|error| errors::of_query(&error))?;
        let mut outgoing: Vec<_> =
            messages.into_iter().map(|row| row.into_outgoing(&self.group)).collect();
        if let Some(topic) = &self.dead_letter_topic {
            let dead: Vec<DeadRow> = query(DEAD_LETTERS)
                .load(&mut conn)
                .await
                .map_err(|error| errors::of_query(&error))?;
            outgoing.extend(dead.into_iter().map(|row| row.into_outgoing(&self.group, topic)));
        }
        Ok(outgoing)
    }
}
