//! Moves the offsets of a transaction's partitions, and counts what was settled and what died.

use hashbrown::HashMap;
use longshore_actors::conservation::Settled;
use longshore_actors::fence::Fence;
use longshore_actors::record::NextOffset;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::super::budget::Tally;
use super::super::errors::Failure;
use super::writer::Writer;

const MOVE_OFFSETS: &str = r#"
    update longshore.offsets o
    set next_offset = v.next_offset, settled_records = o.settled_records + v.settled,
        parked_records = o.parked_records + v.parked, dead_records = o.dead_records + v.dead,
        updated_at = now(),
        deaths = case when v.careful then o.deaths else 0 end,
        suspect = case when v.careful then o.suspect end,
        suspect_starts = case when v.careful then o.suspect_starts else 0 end
    from unnest($2::text[], $3::int[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
        $8::boolean[]) v(topic, partition, next_offset, settled, parked, dead, careful)
    where o."group" = $1 and o.topic = v.topic and o.partition = v.partition
    returning o.topic, o.partition, o.settled_records, o.dead_records"#;

/// Where one partition goes, and what was settled on the way.
pub(super) type Move<'a> = (&'a Fence, NextOffset, Settled);

/// Adds a batch up to `to` to the moves of its partition.
pub(super) fn add<'a>(moves: &mut Vec<Move<'a>>, (fence, to, settled): Move<'a>) {
    let same = |(other, ..): &&mut Move<'_>| other.partition() == fence.partition();
    match moves.iter_mut().find(same) {
        Some((_, end, sum)) => {
            *end = to;
            sum.add(settled);
        }
        None => moves.push((fence, to, settled)),
    }
}

/// What a partition's row says after a move.
pub(super) type Moved = ((String, i32), Tally);

/// Writes the moves of `group`'s partitions, whose rows are locked; `dead` records died, by
/// assignment.
pub(super) async fn write(
    writer: &Writer<'_>,
    group: &str,
    moves: &[Move<'_>],
    dead: &HashMap<u64, u64>,
) -> Result<Vec<Moved>, Failure> {
    let topics: Vec<_> = moves.iter().map(|(fence, ..)| &*fence.partition().topic).collect();
    let partitions: Vec<_> = moves.iter().map(|(fence, ..)| fence.partition().index).collect();
    let offsets: Vec<_> = moves.iter().map(|(_, to, _)| to.0).collect();
    let settled: Vec<_> = moves.iter().map(|(.., sum)| sum.total() as i64).collect();
    let parked: Vec<_> = moves.iter().map(|(.., sum)| sum.parked as i64).collect();
    let died = |fence: &Fence| dead.get(&fence.incarnation()).copied().unwrap_or(0) as i64;
    let dead: Vec<_> = moves.iter().map(|(fence, ..)| died(fence)).collect();
    let careful: Vec<_> = moves.iter().map(|(fence, ..)| fence.is_careful()).collect();
    let statement = writer.within(writer.client().prepare_cached(MOVE_OFFSETS)).await?;
    let columns: [&(dyn ToSql + Sync); 8] =
        [&group, &topics, &partitions, &offsets, &settled, &parked, &dead, &careful];
    let rows = writer.within(writer.client().query(&statement, &columns)).await?;
    if rows.len() != moves.len() {
        return Err(Failure::Stop("a locked row of longshore.offsets did not move".to_owned()));
    }
    Ok(rows.iter().map(moved).collect())
}

fn moved(row: &Row) -> Moved {
    let number = |column| u64::try_from(row.get::<_, i64>(column)).unwrap_or(0);
    ((row.get(0), row.get(1)), Tally { settled: number(2), dead: number(3) })
}
