//! When the broker appended each record: read back from the topic when all is measured, so that it
//! costs nothing while it is.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Message, Offset, Timestamp, TopicPartitionList};

use super::latencies::Latencies;
use super::seen::Commit;
use crate::bench::error::BenchError;
use crate::bench::fill::Target;

/// How long the broker may be silent.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);

const DOING: &str = "reading when records were appended";

/// From the append of each record of `commits` to when it was seen committed. Blocks its thread.
///
/// # Errors
/// The topic cannot be read, or its broker does not stamp what it appends.
pub(super) fn measure(target: &Target, commits: &[Commit]) -> Result<Latencies, BenchError> {
    let mut offsets: BTreeMap<i32, Range<i64>> = BTreeMap::new();
    for commit in commits {
        let range = offsets.entry(commit.partition).or_insert_with(|| commit.offsets.clone());
        range.end = commit.offsets.end;
    }
    let stamps = read(target, &offsets)?;
    let mut latencies = Latencies::new();
    for Commit { partition, offsets: committed, at } in commits {
        let (first, stamps) = (offsets[partition].start, &stamps[partition]);
        let place = |offset: i64| usize::try_from(offset - first).unwrap_or(0);
        let appended = &stamps[place(committed.start)..place(committed.end)];
        for stamp in appended {
            latencies.add(at.duration_since(*stamp).unwrap_or_default());
        }
    }
    Ok(latencies)
}

/// The stamps of all offsets, by partition, in their order.
fn read(
    target: &Target,
    offsets: &BTreeMap<i32, Range<i64>>,
) -> Result<BTreeMap<i32, Vec<SystemTime>>, BenchError> {
    let consumer = consumer(target)?;
    let mut list = TopicPartitionList::new();
    for (partition, offsets) in offsets {
        list.add_partition_offset(&target.topic, *partition, Offset::Offset(offsets.start))
            .map_err(BenchError::kafka(DOING))?;
    }
    consumer.assign(&list).map_err(BenchError::kafka(DOING))?;
    let mut stamps: BTreeMap<i32, Vec<SystemTime>> =
        offsets.keys().map(|partition| (*partition, Vec::new())).collect();
    let mut missing: i64 = offsets.values().map(|offsets| offsets.end - offsets.start).sum();
    let mut heard = Instant::now();
    while missing > 0 {
        if heard.elapsed() > SILENCE_LIMIT {
            let problem = format!("{missing} records did not come");
            return Err(BenchError::Kafka { doing: DOING, problem });
        }
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.map_err(BenchError::kafka(DOING))?;
        heard = Instant::now();
        if !offsets[&message.partition()].contains(&message.offset()) {
            continue;
        }
        let Timestamp::LogAppendTime(millis) = message.timestamp() else {
            let problem = "it does not stamp what it appends".to_owned();
            return Err(BenchError::Kafka { doing: DOING, problem });
        };
        let stamp = UNIX_EPOCH + Duration::from_millis(millis.unsigned_abs());
        stamps.entry(message.partition()).or_default().push(stamp);
        missing -= 1;
    }
    Ok(stamps)
}

fn consumer(target: &Target) -> Result<BaseConsumer, BenchError> {
    let mut config = ClientConfig::new();
    // An assignment by hand needs a group too; it stores nothing.
    config.set("group.id", format!("{}.appended", target.topic));
    config.set("enable.auto.commit", "false");
    target.set(&mut config);
    config.create().map_err(BenchError::kafka(DOING))
}
