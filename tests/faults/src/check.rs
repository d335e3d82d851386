//! Compares the database in the end with the model: offsets, parked records and conservation of
//! every subject, and then what the subject says of its own tables; and asks the instances' logs
//! whether anything had to be begun anew that should have gone on.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use postgres::Client;

use crate::feed::{Fed, ends, parked};
use crate::stage::Stage;
use crate::{Becomes, Delivered, Subject};

/// A partition's row of `longshore.offsets`, as far as it must be right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Books {
    next_offset: i64,
    settled: i64,
    parked: i64,
}

/// Everything that is not as it should be, in sentences.
///
/// # Errors
/// A server does not answer.
pub fn differences(stage: &Stage, fed: &Fed) -> Result<Vec<String>> {
    let mut client = stage.database.connect()?;
    let mut found = Vec::new();
    for (subject, delivered) in fed {
        found.extend(model(stage, &**subject, delivered)?);
        found.extend(offsets(&mut client, &**subject, delivered)?);
        found.extend(parked_records(&mut client, &**subject, delivered)?);
        found.extend(subject.check(delivered, &mut client)?);
    }
    found.extend(stage.instances.iter().flat_map(|instance| {
        let stuck = stuck_partitions(&instance.whole_log());
        stuck.into_iter().map(|line| format!("instance {}: {line}", instance.number()))
    }));
    Ok(found)
}

/// What a log says of partitions that waited in vain. The product heals that by itself after a
/// minute, whatever it came from; but no fault excuses it: every batch has to come back in time.
fn stuck_partitions(log: &str) -> Vec<String> {
    let is_it = |line: &&str| line.contains("gets nowhere") && line.contains("PartitionActor");
    log.lines().filter(is_it).map(str::to_owned).collect()
}

/// How many of the records are settled, by the stored offsets.
///
/// # Errors
/// The database does not answer.
pub fn settled(client: &mut Client) -> Result<i64> {
    let row = client.query_one("select sum(next_offset)::bigint from longshore.offsets", &[])?;
    Ok(row.get::<_, Option<i64>>(0).unwrap_or(0))
}

/// The model must be the topic: nobody else writes to it, and every record has one place.
fn model(stage: &Stage, subject: &dyn Subject, delivered: &[Delivered]) -> Result<Vec<String>> {
    let (name, mut found) = (subject.name(), Vec::new());
    let counted = ends(delivered, subject.partitions());
    for (partition, end) in stage.ends(name, subject.partitions())? {
        let counted = counted[partition as usize];
        if end != counted {
            found.push(format!("{name}[{partition}] ends at {end}, but {counted} were delivered"));
        }
    }
    let places = delivered.iter().map(|record| (record.partition, record.offset));
    if places.collect::<BTreeSet<_>>().len() != delivered.len() {
        found.push(format!("{name}: two records were delivered to one place"));
    }
    Ok(found)
}

fn offsets(
    client: &mut Client,
    subject: &dyn Subject,
    delivered: &[Delivered],
) -> Result<Vec<String>> {
    let rows = client.query(
        "select partition, next_offset, settled_records, parked_records
         from longshore.offsets where topic = $1",
        &[&subject.name()],
    )?;
    let rows = rows.iter().map(|row| {
        let books = Books { next_offset: row.get(1), settled: row.get(2), parked: row.get(3) };
        (row.get::<_, i32>(0), books)
    });
    let stored = rows.collect::<BTreeMap<_, _>>();
    let ends = ends(delivered, subject.partitions());
    let parked = parked(delivered, subject.partitions());
    let mut found = Vec::new();
    for (partition, (end, parked)) in (0..).zip(ends.into_iter().zip(parked)) {
        let should = Books { next_offset: end, settled: end, parked };
        let is = stored.get(&partition).copied().unwrap_or_default();
        if is != should {
            let name = subject.name();
            found.push(format!("{name}[{partition}] stands at {is:?}, but should at {should:?}"));
        }
    }
    Ok(found)
}

fn parked_records(
    client: &mut Client,
    subject: &dyn Subject,
    delivered: &[Delivered],
) -> Result<Vec<String>> {
    let rows = client.query(
        "select partition, \"offset\", state, reason, error
         from longshore.parked_records where topic = $1",
        &[&subject.name()],
    )?;
    let parked = delivered.iter().filter(|record| record.becomes == Becomes::Parked);
    let mut missing =
        parked.map(|record| (record.partition, record.offset)).collect::<BTreeSet<_>>();
    let (name, mut found) = (subject.name(), Vec::new());
    for row in &rows {
        let (partition, offset) = (row.get::<_, i32>(0), row.get::<_, i64>(1));
        let story: [&str; 3] = [row.get(2), row.get(3), row.get(4)];
        let is_expected = missing.remove(&(partition, offset)) && story[0] == "dead";
        if !is_expected {
            found.push(format!("{name}[{partition}] offset {offset} is parked: {story:?}"));
        }
    }
    let lost = missing.iter();
    found.extend(lost.map(|(partition, offset)| {
        format!("{name}[{partition}] offset {offset} should be parked, and is not")
    }));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_waited_in_vain_is_found_in_either_form_of_the_log() {
        let text = "WARN longshore_actors::supervisor: gets nowhere actor=PartitionActor ads[0]";
        let json = r#"{"message":"gets nowhere","actor":"PartitionActor ads[0]"}"#;
        let others = "gets nowhere actor=PersisterActor 0\nis started again actor=PartitionActor";
        let log = format!("{text}\n{others}\n{json}\n");
        assert_eq!(stuck_partitions(&log), [text, json]);
    }
}
