//! The messages of saved records, written to the outbox in the transaction that saves them: in the
//! order of the records of a partition, and of a record's calls.

use longshore_actors::batch::WorkedBatch;
use longshore_actors::message::Message;
use serde_json::Value;
use tokio_postgres::types::ToSql;

use super::super::errors::Failure;
use super::super::headers;
use super::Claims;
use super::merge::{Merged, State};
use super::writer::Writer;

/// Bounds of one statement.
const MESSAGES_MAX: usize = 1000;
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// Ids are given in the order of the places.
const WRITE: &str = r#"
    insert into longshore.outbox (pipeline, "group", source_topic, source_partition, source_offset,
        topic, key, value, headers)
    select $1, $2, v.source_topic, v.source_partition, v.source_offset, v.topic, v.key, v.value,
        v.headers
    from unnest($3::text[], $4::int[], $5::bigint[], $6::text[], $7::bytea[], $8::bytea[],
        $9::jsonb[])
        with ordinality v(source_topic, source_partition, source_offset, topic, key, value, headers,
            place)
    order by v.place"#;

/// A message and where its record lies.
struct Written<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    message: &'a Message,
}

/// Writes the messages of all records of `group` that are saved.
pub(super) async fn write(
    writer: &Writer<'_>,
    (pipeline, name): (&str, &str),
    group: &[WorkedBatch],
    merged: &Merged<'_>,
    claims: &Claims,
) -> Result<(), Failure> {
    let mut messages = Vec::new();
    for (number, worked) in group.iter().enumerate().filter(|(n, _)| claims[*n].is_ok()) {
        gather(&mut messages, merged, number, worked);
    }
    let mut rest = &messages[..];
    while !rest.is_empty() {
        let (now, later) = rest.split_at(piece_of(rest));
        write_piece(writer, (pipeline, name), now).await?;
        rest = later;
    }
    Ok(())
}

/// The batches of a partition follow each other in the group; their parts come in any order.
fn gather<'a>(
    messages: &mut Vec<Written<'a>>,
    merged: &Merged<'_>,
    number: usize,
    worked: &'a WorkedBatch,
) {
    // A record without rows stays as it was, since nothing was written of it.
    let is_saved = |of: u32| matches!(merged.state_of(number, of), State::Saved | State::Pending);
    let all = worked.chunks.iter().flat_map(|chunk| chunk.rows.messages());
    let mut saved: Vec<_> = all.filter(|(of, _)| is_saved(*of)).collect();
    saved.sort_by_key(|(of, _)| *of);
    let partition = worked.batch.fence.partition();
    messages.extend(saved.into_iter().map(|(of, message)| Written {
        topic: &partition.topic,
        partition: partition.index,
        offset: worked.batch.parcel.arena.get(*of as usize).offset.0,
        message,
    }));
}

/// How many of `messages` go into one statement: at least one.
fn piece_of(messages: &[Written<'_>]) -> usize {
    let mut bytes = 0;
    let fits = |written: &&Written<'_>| {
        let Written { message, .. } = written;
        bytes += message.key_bytes().map_or(0, <[u8]>::len);
        bytes += message.value_bytes().map_or(0, <[u8]>::len);
        bytes <= BYTES_MAX
    };
    messages.iter().take(MESSAGES_MAX).take_while(fits).count().max(1)
}

async fn write_piece(
    writer: &Writer<'_>,
    (pipeline, name): (&str, &str),
    messages: &[Written<'_>],
) -> Result<(), Failure> {
    let sources: Vec<&str> = messages.iter().map(|written| written.topic).collect();
    let partitions: Vec<i32> = messages.iter().map(|written| written.partition).collect();
    let offsets: Vec<i64> = messages.iter().map(|written| written.offset).collect();
    let contents = || messages.iter().map(|written| written.message);
    let topics: Vec<&str> = contents().map(Message::topic).collect();
    let keys: Vec<Option<&[u8]>> = contents().map(Message::key_bytes).collect();
    let values: Vec<Option<&[u8]>> = contents().map(Message::value_bytes).collect();
    let headers: Vec<Value> = contents().map(|m| headers::to_json(m.headers())).collect();
    let statement = writer.within(writer.client().prepare_cached(WRITE)).await?;
    let columns: [&(dyn ToSql + Sync); 9] =
        [&pipeline, &name, &sources, &partitions, &offsets, &topics, &keys, &values, &headers];
    writer.within(writer.client().execute(&statement, &columns)).await.map(drop)
}
