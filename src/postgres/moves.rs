//! Moving stored offsets by hand, behind the fence: the epoch is bumped and the owner taken away,
//! so that a live owner takes its partition over again and goes on from the new place by itself.

use chrono::Utc;
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use longshore_actors::error::StoreError;
use longshore_actors::record::{NextOffset, PartitionId};
use serde_json::json;

use super::errors;
use super::schema::{audit, offsets, parked_records};

/// One partition to move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Which.
    pub partition: PartitionId,
    /// Where to go on.
    pub to: NextOffset,
}

/// What a move came to, or would come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Which.
    pub partition: PartitionId,
    /// Where it stood; `None` if it had no row yet.
    pub from: Option<NextOffset>,
    /// Where it goes on.
    pub to: NextOffset,
    /// Parked records at or after that place, which are removed: they are read again.
    pub parked_removed: usize,
}

/// Who moves what, for the audit.
#[derive(Clone, Copy, Debug)]
pub struct MovedBy<'a> {
    /// The person.
    pub who: &'a str,
    /// The pipeline.
    pub pipeline: &'a str,
    /// Its consumer group.
    pub group: &'a str,
}

/// Moves offsets in one transaction, or only says what that would come to if `dry_run`.
///
/// # Errors
/// The database refuses; then nothing is moved.
pub async fn move_offsets(
    conn: &mut AsyncPgConnection,
    by: MovedBy<'_>,
    moves: &[Move],
    dry_run: bool,
) -> Result<Vec<Moved>, StoreError> {
    let mut moves = moves.to_vec();
    // The order in which everybody locks offset rows.
    moves.sort_by(|a, b| a.partition.cmp(&b.partition));
    let moved = async {
        conn.batch_execute("begin isolation level read committed").await?;
        let mut moved = Vec::with_capacity(moves.len());
        let mut before = Vec::with_capacity(moves.len());
        for one in &moves {
            before.push(lock(conn, by.group, &one.partition).await?);
        }
        for (one, from) in moves.iter().zip(before) {
            moved.push(move_one(conn, by.group, one, from).await?);
        }
        note(conn, by, &moved).await?;
        conn.batch_execute(if dry_run { "rollback" } else { "commit" }).await?;
        Ok::<_, diesel::result::Error>(moved)
    };
    moved.await.map_err(|error| errors::of_query(&error))
}

async fn lock(
    conn: &mut AsyncPgConnection,
    group: &str,
    partition: &PartitionId,
) -> QueryResult<Option<NextOffset>> {
    let row = offsets::table.find((group, &*partition.topic, partition.index));
    let next = row.select(offsets::next_offset).for_update().first::<i64>(conn).await.optional()?;
    Ok(next.map(NextOffset))
}

async fn move_one(
    conn: &mut AsyncPgConnection,
    group: &str,
    one: &Move,
    from: Option<NextOffset>,
) -> QueryResult<Moved> {
    let Move { partition, to } = one;
    let key = (
        offsets::group.eq(group),
        offsets::topic.eq(&*partition.topic),
        offsets::partition.eq(partition.index),
    );
    // The next owner notes which topic it is: one that was made anew is accepted.
    let place = || {
        (
            offsets::next_offset.eq(to.0),
            offsets::owner.eq(None::<String>),
            offsets::topic_id.eq(None::<uuid::Uuid>),
            offsets::cluster_id.eq(None::<String>),
            offsets::at_work.eq(false),
            offsets::deaths.eq(0),
            offsets::suspect.eq(None::<i64>),
            offsets::suspect_starts.eq(0),
            offsets::updated_at.eq(Utc::now()),
        )
    };
    diesel::insert_into(offsets::table)
        .values((key, place()))
        .on_conflict((offsets::group, offsets::topic, offsets::partition))
        .do_update()
        .set((place(), offsets::epoch.eq(offsets::epoch + 1)))
        .execute(conn)
        .await?;
    let is_unsettled = parked_records::state.ne("dead").or(parked_records::relayed_at.is_null());
    let parked = parked_records::table
        .filter(parked_records::group.eq(group))
        .filter(parked_records::topic.eq(&*partition.topic))
        .filter(parked_records::partition.eq(partition.index))
        .filter(parked_records::offset.ge(to.0))
        .filter(is_unsettled);
    let parked_removed = diesel::delete(parked).execute(conn).await?;
    Ok(Moved { partition: partition.clone(), from, to: *to, parked_removed })
}

async fn note(conn: &mut AsyncPgConnection, by: MovedBy<'_>, moved: &[Moved]) -> QueryResult<()> {
    let partitions = moved.iter().map(|moved| {
        json!({
            "topic": &*moved.partition.topic,
            "partition": moved.partition.index,
            "from": moved.from.map(|from| from.0),
            "to": moved.to.0,
            "parked_removed": moved.parked_removed,
        })
    });
    let details = json!({
        "pipeline": by.pipeline,
        "group": by.group,
        "partitions": partitions.collect::<Vec<_>>(),
    });
    diesel::insert_into(audit::table)
        .values((
            audit::who.eq(by.who),
            audit::command.eq("offsets set"),
            audit::num_rows.eq(moved.len() as i64),
            audit::details.eq(details),
        ))
        .execute(conn)
        .await?;
    Ok(())
}
