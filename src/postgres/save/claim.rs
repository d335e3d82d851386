//! The head of the saving transaction: the offset rows are locked, and each batch is held against
//! its row. What does not fit is left out, and does not spoil the others.

use deadpool_postgres::ClientWrapper;
use hashbrown::HashMap;
use longshore_actors::batch::Batch;
use longshore_actors::faults;
use longshore_actors::fence::Position;
use longshore_actors::ports::BatchReport;
use longshore_actors::record::NextOffset;
use tokio_postgres::Error;
use tokio_postgres::types::ToSql;

pub(super) const BEGIN: &str = "begin isolation level read committed";
/// Over a transaction that failed.
pub(super) const BEGIN_ANEW: &str = "rollback; begin isolation level read committed";

const LOCK_ROWS: &str = r#"
    select o.topic, o.partition, o.epoch, o.next_offset, o.owner
    from longshore.offsets o
    where o."group" = $1
      and (o.topic, o.partition) in (select * from unnest($2::text[], $3::int[]))
    order by o."group", o.topic, o.partition
    for update of o"#;

/// A row under its lock.
struct Locked {
    epoch: i64,
    next_offset: NextOffset,
    owner: Option<String>,
}

/// How far the batches of one assignment have come.
enum Chain {
    /// The next batch must begin here.
    Goes(NextOffset),
    /// One was left out, and so are those behind it.
    Broken(BatchReport),
}

/// The position under which `batch` may go: its assignment stands, and its attempt is the last.
pub(super) fn position_of(batch: &Batch) -> Option<Position> {
    // Read once: the attempt and the epoch must be of the same moment.
    let position = batch.fence.position()?;
    (batch.fence.stands() && position.attempt == batch.attempt).then_some(position)
}

/// Begins a transaction by `begin` and locks the rows of `group`. For each batch: the position
/// under which it goes, or why it is left out.
pub(super) async fn claim(
    client: &ClientWrapper,
    begin: &'static str,
    (group_name, owner): (&str, &str),
    group: impl Iterator<Item = &Batch> + Clone,
) -> Result<Vec<Result<Position, BatchReport>>, Error> {
    let (mut topics, mut partitions) = (Vec::new(), Vec::new());
    for batch in group.clone() {
        let partition = batch.fence.partition();
        topics.push(&*partition.topic);
        partitions.push(partition.index);
    }
    let lock = client.prepare_cached(LOCK_ROWS).await?;
    // In one flight: what is asked second is answered second.
    let key: [&(dyn ToSql + Sync); 3] = [&group_name, &topics, &partitions];
    let rows = client.query(&lock, &key);
    let ((), rows) = futures_util::future::try_join(client.batch_execute(begin), rows).await?;
    let rows: HashMap<(&str, i32), Locked> = rows
        .iter()
        .map(|row| {
            let locked = Locked {
                epoch: row.get(2),
                next_offset: NextOffset(row.get(3)),
                owner: row.get(4),
            };
            ((row.get(0), row.get(1)), locked)
        })
        .collect();
    let mut chains = HashMap::new();
    Ok(group.map(|batch| judge(batch, owner, &rows, &mut chains)).collect())
}

fn judge(
    batch: &Batch,
    owner: &str,
    rows: &HashMap<(&str, i32), Locked>,
    chains: &mut HashMap<u64, Chain>,
) -> Result<Position, BatchReport> {
    let partition = batch.fence.partition();
    let row = rows.get(&(&*partition.topic, partition.index));
    let chain = chains.remove(&batch.fence.incarnation());
    let verdict = match chain {
        Some(Chain::Broken(report)) => Err(report),
        Some(Chain::Goes(expected)) => fits(batch, owner, row, Some(expected)),
        None => fits(batch, owner, row, None),
    };
    let chain = match &verdict {
        Ok(_) => Chain::Goes(batch.to),
        Err(report) => Chain::Broken(report.clone()),
    };
    chains.insert(batch.fence.incarnation(), chain);
    verdict
}

/// Whether `batch` is the next one of its partition, `expected` being the end of the one before it
/// in this transaction.
fn fits(
    batch: &Batch,
    owner: &str,
    row: Option<&Locked>,
    expected: Option<NextOffset>,
) -> Result<Position, BatchReport> {
    let position = position_of(batch).ok_or(BatchReport::Stale)?;
    let row = row.ok_or(BatchReport::Fenced { owner: None })?;
    if faults::bug("fence-off") {
        return Ok(position);
    }
    let expected = expected.unwrap_or(row.next_offset);
    // The owner too: a standby that lags behind and is promoted gives an epoch out twice.
    if row.epoch != position.epoch || row.owner.as_deref() != Some(owner) {
        return Err(BatchReport::Fenced { owner: row.owner.clone() });
    }
    match batch.from {
        from if from == expected => Ok(position),
        from if from > expected && faults::bug("last-batch-first") => Ok(position),
        // Saved already.
        _ if batch.to <= expected => Err(BatchReport::Stale),
        _ => Err(BatchReport::Fenced { owner: row.owner.clone() }),
    }
}
