//! Parked records as operators see them: listed, sent again, thrown away; every change in one
//! transaction with its note in the audit.
//!
//! Whoever changes parked records of a partition has locked the partition's offset row before, so
//! that no batch of its owner is under way meanwhile.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use longshore_actors::error::StoreError;
use serde_json::{Value, json};

use super::errors;
use super::schema::{audit, offsets, parked_records};

/// Ids of one statement.
const IDS_MAX: usize = 10_000;

/// Ids that a note in the audit names; of more it says how many.
const IDS_NOTED_MAX: usize = 1000;

/// A parked record.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = parked_records)]
pub struct ParkedRecord {
    /// Its number.
    pub id: i64,
    /// The pipeline's name.
    pub pipeline: String,
    /// The consumer group.
    pub group: String,
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its place.
    pub offset: i64,
    /// When it was made, as Kafka says.
    pub timestamp: Option<DateTime<Utc>>,
    /// Its key, byte for byte.
    pub key: Option<Vec<u8>>,
    /// Its value, byte for byte.
    pub value: Option<Vec<u8>>,
    /// Its headers; see [`super::headers`].
    pub headers: Value,
    /// `retrying`, `waiting` or `dead`.
    pub state: String,
    /// How often it was tried.
    pub attempts: i32,
    /// When it comes back.
    pub due_at: Option<DateTime<Utc>>,
    /// When it was published to the dead-letter topic.
    pub relayed_at: Option<DateTime<Utc>>,
    /// Why it can never be published there.
    pub relay_error: Option<String>,
    /// Why, in a word or two.
    pub reason: String,
    /// The whole story.
    pub error: String,
    /// Since when.
    pub parked_at: DateTime<Utc>,
}

/// Which parked records are meant: those that fit everything that is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of these pipelines.
    pub pipelines: Vec<String>,
    /// Of these groups.
    pub groups: Vec<String>,
    /// With these ids; any if none is named.
    pub ids: Vec<i64>,
    /// Of this topic.
    pub topic: Option<String>,
    /// Of this partition.
    pub partition: Option<i32>,
    /// In this state.
    pub state: Option<String>,
    /// With this reason.
    pub reason: Option<String>,
    /// Parked before.
    pub before: Option<DateTime<Utc>>,
    /// Parked since.
    pub since: Option<DateTime<Utc>>,
}

/// What is to become of parked records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// They come back at once, and are tried as often as new ones. Those that wait for others keep
    /// their turn.
    Retry,
    /// They are removed.
    Discard,
}

/// Records of one partition that are changed, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Their group.
    pub group: String,
    /// Their topic.
    pub topic: String,
    /// Their partition.
    pub partition: i32,
    /// How many.
    pub records: usize,
}

type Boxed<'a> = parked_records::BoxedQuery<'a, Pg>;

impl Filter {
    fn query(&self) -> Boxed<'_> {
        let mut query = parked_records::table
            .filter(parked_records::pipeline.eq_any(&self.pipelines))
            .filter(parked_records::group.eq_any(&self.groups))
            .into_boxed();
        if !self.ids.is_empty() {
            query = query.filter(parked_records::id.eq_any(&self.ids));
        }
        if let Some(topic) = &self.topic {
            query = query.filter(parked_records::topic.eq(topic));
        }
        if let Some(partition) = self.partition {
            query = query.filter(parked_records::partition.eq(partition));
        }
        if let Some(state) = &self.state {
            query = query.filter(parked_records::state.eq(state));
        }
        if let Some(reason) = &self.reason {
            query = query.filter(parked_records::reason.eq(reason));
        }
        if let Some(before) = self.before {
            query = query.filter(parked_records::parked_at.lt(before));
        }
        if let Some(since) = self.since {
            query = query.filter(parked_records::parked_at.ge(since));
        }
        query
    }

    fn to_json(&self) -> Value {
        json!({
            "pipelines": self.pipelines,
            "ids": self.ids,
            "topic": self.topic,
            "partition": self.partition,
            "state": self.state,
            "reason": self.reason,
            "before": self.before,
            "since": self.since,
        })
    }
}

impl Change {
    /// What the command line calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Discard => "discard",
        }
    }
}

/// Parked records in the order of their ids, at most `limit` of those behind `after`.
///
/// # Errors
/// The query failed.
pub async fn list(
    conn: &mut AsyncPgConnection,
    filter: &Filter,
    after: i64,
    limit: i64,
) -> Result<Vec<ParkedRecord>, StoreError> {
    filter
        .query()
        .filter(parked_records::id.gt(after))
        .order(parked_records::id)
        .limit(limit)
        .select(ParkedRecord::as_select())
        .load(conn)
        .await
        .map_err(|error| errors::of_query(&error))
}

/// How many parked records fit.
///
/// # Errors
/// The query failed.
pub async fn count(conn: &mut AsyncPgConnection, filter: &Filter) -> Result<i64, StoreError> {
    let counted = filter.query().count().get_result(conn).await;
    counted.map_err(|error| errors::of_query(&error))
}

/// Changes parked records in one transaction, or only says what that would come to if `dry_run`.
///
/// # Errors
/// The database refuses; then nothing is changed.
pub async fn change(
    conn: &mut AsyncPgConnection,
    (who, change): (&str, Change),
    filter: &Filter,
    dry_run: bool,
) -> Result<Vec<Changed>, StoreError> {
    let changed = async {
        conn.batch_execute("begin isolation level read committed").await?;
        lock(conn, filter, change).await?;
        let rows = meant(conn, filter, change).await?;
        let ids: Vec<i64> = rows.iter().map(|row| row.0).collect();
        for ids in ids.chunks(IDS_MAX) {
            carry_out(conn, change, ids).await?;
        }
        if change == Change::Discard {
            let comes_back = rows.iter().filter(|row| row.4 != "dead");
            have_taken_again(conn, &partitions_of(comes_back)).await?;
        }
        let changed = partitions_of(rows.iter());
        if !rows.is_empty() {
            note(conn, (who, change), filter, &ids).await?;
        }
        conn.batch_execute(if dry_run { "rollback" } else { "commit" }).await?;
        Ok::<_, diesel::result::Error>(changed)
    };
    changed.await.map_err(|error| errors::of_query(&error))
}

/// Id, group, topic, partition, state.
type Meant = (i64, String, String, i32, String);

/// Locks the offset rows of all partitions that records are meant of, in the order in which
/// everybody does.
async fn lock(conn: &mut AsyncPgConnection, filter: &Filter, change: Change) -> QueryResult<()> {
    let rows = meant(conn, filter, change).await?;
    for partition in partitions_of(rows.iter()) {
        let row = offsets::table.find((partition.group, partition.topic, partition.partition));
        row.select(offsets::epoch).for_update().first::<i64>(conn).await.optional()?;
    }
    Ok(())
}

async fn meant(
    conn: &mut AsyncPgConnection,
    filter: &Filter,
    change: Change,
) -> QueryResult<Vec<Meant>> {
    let mut query = filter.query();
    if change == Change::Retry {
        query = query.filter(parked_records::state.ne("waiting"));
    }
    query
        .order(parked_records::id)
        .select((
            parked_records::id,
            parked_records::group,
            parked_records::topic,
            parked_records::partition,
            parked_records::state,
        ))
        .load(conn)
        .await
}

fn partitions_of<'a>(rows: impl Iterator<Item = &'a Meant>) -> Vec<Changed> {
    let mut places: Vec<_> =
        rows.map(|(_, group, topic, index, _)| (group, topic, *index)).collect();
    places.sort_unstable();
    let count = |places: &[(&String, &String, i32)]| {
        let (group, topic, partition) = places[0];
        let (group, topic) = (group.clone(), topic.clone());
        Changed { group, topic, partition, records: places.len() }
    };
    places.chunk_by(|a, b| a == b).map(count).collect()
}

async fn carry_out(conn: &mut AsyncPgConnection, change: Change, ids: &[i64]) -> QueryResult<()> {
    let rows = parked_records::table.filter(parked_records::id.eq_any(ids));
    match change {
        Change::Discard => diesel::delete(rows).execute(conn).await?,
        Change::Retry => {
            let again = (
                parked_records::state.eq("retrying"),
                parked_records::attempts.eq(0),
                parked_records::due_at.eq(diesel::dsl::now),
                parked_records::relayed_at.eq(None::<DateTime<Utc>>),
                parked_records::relay_error.eq(None::<String>),
                parked_records::updated_at.eq(diesel::dsl::now),
            );
            diesel::update(rows).set(again).execute(conn).await?
        }
    };
    Ok(())
}

/// Has the owners of these partitions take them over again: they know of lanes that were freed.
async fn have_taken_again(conn: &mut AsyncPgConnection, partitions: &[Changed]) -> QueryResult<()> {
    for Changed { group, topic, partition, .. } in partitions {
        diesel::update(offsets::table.find((group, topic, partition)))
            .set((
                offsets::epoch.eq(offsets::epoch + 1),
                offsets::owner.eq(None::<String>),
                offsets::at_work.eq(false),
                offsets::updated_at.eq(diesel::dsl::now),
            ))
            .execute(conn)
            .await?;
    }
    Ok(())
}

async fn note(
    conn: &mut AsyncPgConnection,
    (who, change): (&str, Change),
    filter: &Filter,
    ids: &[i64],
) -> QueryResult<()> {
    let noted = &ids[..ids.len().min(IDS_NOTED_MAX)];
    diesel::insert_into(audit::table)
        .values((
            audit::who.eq(who),
            audit::command.eq(format!("parked {}", change.name())),
            audit::num_rows.eq(ids.len() as i64),
            audit::details.eq(json!({ "filter": filter.to_json(), "ids": noted })),
        ))
        .execute(conn)
        .await?;
    Ok(())
}
