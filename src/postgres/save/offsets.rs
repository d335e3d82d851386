//! Moves the offsets of a transaction's partitions, and counts what was settled.

use longshore_actors::conservation::Settled;
use longshore_actors::fence::Fence;
use longshore_actors::record::NextOffset;
use tokio_postgres::types::ToSql;

use super::super::errors::Failure;
use super::writer::Writer;

const MOVE_OFFSETS: &str = r#"
    update longshore.offsets o
    set next_offset = v.next_offset, settled_records = o.settled_records + v.settled,
        parked_records = o.parked_records + v.parked, updated_at = now(),
        deaths = case when v.careful then o.deaths else 0 end,
        suspect = case when v.careful then o.suspect end,
        suspect_starts = case when v.careful then o.suspect_starts else 0 end
    from unnest($2::text[], $3::int[], $4::bigint[], $5::bigint[], $6::bigint[], $7::boolean[])
        v(topic, partition, next_offset, settled, parked, careful)
    where o."group" = $1 and o.topic = v.topic and o.partition = v.partition"#;

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

/// Writes the moves of `group`'s partitions, whose rows are locked.
pub(super) async fn write(
    writer: &Writer<'_>,
    group: &str,
    moves: &[Move<'_>],
) -> Result<(), Failure> {
    let topics: Vec<_> = moves.iter().map(|(fence, ..)| &*fence.partition().topic).collect();
    let partitions: Vec<_> = moves.iter().map(|(fence, ..)| fence.partition().index).collect();
    let offsets: Vec<_> = moves.iter().map(|(_, to, _)| to.0).collect();
    let settled: Vec<_> = moves.iter().map(|(.., sum)| sum.total() as i64).collect();
    let parked: Vec<_> = moves.iter().map(|(.., sum)| sum.parked as i64).collect();
    let careful: Vec<_> = moves.iter().map(|(fence, ..)| fence.is_careful()).collect();
    let statement = writer.within(writer.client().prepare_cached(MOVE_OFFSETS)).await?;
    let columns: [&(dyn ToSql + Sync); 7] =
        [&group, &topics, &partitions, &offsets, &settled, &parked, &careful];
    if writer.within(writer.client().execute(&statement, &columns)).await? != moves.len() as u64 {
        return Err(Failure::Stop("a locked row of longshore.offsets did not move".to_owned()));
    }
    Ok(())
}
