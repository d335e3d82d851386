//! Noting what was published, in a transaction that has the partitions' offset rows locked.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Integer, Nullable, Text, Timestamptz};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use longshore_actors::error::StoreError;
use longshore_actors::fence::Fence;
use longshore_actors::publisher::{Kind, Verdict};

use super::super::errors;
use super::{Columns, PostgresOutbox};

/// The partitions that are still ours, locked so that they stay ours until the end.
const HOLD: &str = r#"
    select o.topic, o.partition
    from longshore.offsets o
    join unnest($2, $3, $4) p(topic, partition, epoch)
      on o.topic = p.topic and o.partition = p.partition and o.epoch = p.epoch
    where o."group" = $1 and o.owner = $5
    order by o."group", o.topic, o.partition
    for share of o"#;

const MARK_MESSAGES: &str = r#"
    with sent as (
      select b.id, v.error
      from unnest($1, $2) v(id, error) join longshore.outbox b on b.id = v.id
      where b.published_at is null and b.failed_at is null
      for update of b skip locked)
    update longshore.outbox b
    set published_at = case when sent.error is null then now() end,
      failed_at = case when sent.error is not null then now() end, error = sent.error
    from sent where b.id = sent.id"#;

/// A record that came back and died again since is another one.
const MARK_DEAD_LETTERS: &str = r#"
    with sent as (
      select d.id, v.error
      from unnest($1, $2, $3) v(id, error, version)
      join longshore.parked_records d on d.id = v.id and d.updated_at = v.version
      where d.state = 'dead' and d.relayed_at is null and d.relay_error is null
      for update of d skip locked)
    update longshore.parked_records d
    set relayed_at = case when sent.error is null then now() end, relay_error = sent.error
    from sent where d.id = sent.id"#;

/// More than a pass publishes, so that it keeps up.
const PRUNE: &str = r#"
    delete from longshore.outbox where id in (
      select b.id from longshore.outbox b
      where b."group" = $1 and b.published_at < now() - interval '1 day'
      order by b.published_at limit 2000
      for update skip locked)"#;

#[derive(QueryableByName)]
struct HeldRow {
    #[diesel(sql_type = Text)]
    topic: String,
    #[diesel(sql_type = Integer)]
    partition: i32,
}

impl PostgresOutbox {
    /// See [`longshore_actors::publisher::Outbox::mark`].
    pub(super) async fn note(
        &self,
        fences: &[Arc<Fence>],
        verdicts: &[Verdict],
    ) -> Result<usize, StoreError> {
        let mut conn = self.pool.get().await?;
        let noted = conn
            .build_transaction()
            .read_committed()
            .run(async |conn| {
                let held = self.hold(conn, fences, verdicts).await?;
                let is_ours = |verdict: &&Verdict| {
                    let partition = fences[verdict.fence].partition();
                    held.contains(&(partition.topic.to_string(), partition.index))
                };
                mark(conn, &verdicts.iter().filter(is_ours).collect::<Vec<_>>()).await
            })
            .await;
        let noted = noted.map_err(|error: diesel::result::Error| errors::of_query(&error))?;
        if verdicts.iter().any(|verdict| verdict.row.kind == Kind::Outbox) {
            let pruned = sql_query(PRUNE).bind::<Text, _>(&self.group).execute(&mut conn).await;
            if let Err(error) = pruned {
                tracing::debug!(%error, "what was published long ago is not removed");
            }
        }
        Ok(noted)
    }

    async fn hold(
        &self,
        conn: &mut AsyncPgConnection,
        fences: &[Arc<Fence>],
        verdicts: &[Verdict],
    ) -> QueryResult<HashSet<(String, i32)>> {
        // Saves of other partitions need not wait for this.
        let concerned: BTreeSet<usize> = verdicts.iter().map(|verdict| verdict.fence).collect();
        let columns = Columns::of(concerned.iter().map(|place| &fences[*place]));
        let owner = self.owner.name();
        let held: Vec<HeldRow> = sql_query(HOLD)
            .bind::<Text, _>(&self.group)
            .bind::<Array<Text>, _>(&columns.topics)
            .bind::<Array<Integer>, _>(&columns.partitions)
            .bind::<Array<BigInt>, _>(&columns.epochs)
            .bind::<Text, _>(&*owner)
            .load(conn)
            .await?;
        Ok(held.into_iter().map(|held| (held.topic, held.partition)).collect())
    }
}

async fn mark(conn: &mut AsyncPgConnection, verdicts: &[&Verdict]) -> QueryResult<usize> {
    let mut noted = 0;
    let of = |kind| verdicts.iter().filter(move |verdict| verdict.row.kind == kind);
    let ids = |kind| of(kind).map(|verdict| verdict.row.id).collect::<Vec<_>>();
    let errors = |kind| {
        let error = |verdict: &&Verdict| verdict.outcome.as_ref().err().cloned();
        of(kind).map(error).collect::<Vec<Option<String>>>()
    };
    if of(Kind::Outbox).next().is_some() {
        noted += sql_query(MARK_MESSAGES)
            .bind::<Array<BigInt>, _>(ids(Kind::Outbox))
            .bind::<Array<Nullable<Text>>, _>(errors(Kind::Outbox))
            .execute(conn)
            .await?;
    }
    if of(Kind::DeadLetter).next().is_some() {
        let version = |verdict: &&Verdict| {
            DateTime::from_timestamp_micros(verdict.row.version).unwrap_or_default()
        };
        let versions: Vec<DateTime<Utc>> = of(Kind::DeadLetter).map(version).collect();
        noted += sql_query(MARK_DEAD_LETTERS)
            .bind::<Array<BigInt>, _>(ids(Kind::DeadLetter))
            .bind::<Array<Nullable<Text>>, _>(errors(Kind::DeadLetter))
            .bind::<Array<Timestamptz>, _>(versions)
            .execute(conn)
            .await?;
    }
    Ok(noted)
}
