//! Taking partitions over: the epoch is bumped and the stored offset read, under the row's lock, so
//! that what an older owner has under way ends before and what it begins later is refused.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use longshore_actors::caution::{Caution, DEATHS_MAX, STARTS_MAX};
use longshore_actors::error::StoreError;
use longshore_actors::fence::Fence;
use longshore_actors::ports::Acquired;
use longshore_actors::record::{NextOffset, Offset};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, Row};
use uuid::Uuid;

use super::connect::SessionSettings;
use super::errors;
use super::owner::Owner;
use super::pool::SessionPool;
use super::starts::{self, Topics, Unfit};
use crate::positions::{Positions, StartPosition};

/// Longer than an own-writes transaction is held (10 s at most), so that an acquire outwaits it.
const LOCK_TIMEOUT: Duration = Duration::from_secs(15);

/// A server that says nothing for so long is away.
const DEADLINE: Duration = Duration::from_secs(45);

const BEGIN: &str = "begin isolation level read committed";

const LOCK_ROWS: &str = r#"
    select o.topic, o.partition, o.epoch, o.next_offset, o.owner, o.cluster_id, o.topic_id,
        o.at_work, o.deaths, o.suspect, o.suspect_starts
    from longshore.offsets o
    where o."group" = $1
      and (o.topic, o.partition) in (select * from unnest($2::text[], $3::int[]))
    order by o."group", o.topic, o.partition
    for update of o"#;

/// An owner that is found at work by another one died with records in hand.
const TAKE_OVER: &str = r#"
    update longshore.offsets o
    set epoch = o.epoch + 1, owner = $2, cluster_id = coalesce(v.cluster_id, o.cluster_id),
        topic_id = coalesce(v.topic_id, o.topic_id), updated_at = now(),
        at_work = o.at_work and o.owner is not distinct from $2,
        deaths = o.deaths + (o.at_work and o.owner is distinct from $2)::int,
        suspect_starts = case
            when o.owner is not distinct from $2 then o.suspect_starts
            when o.at_work and o.suspect >= o.next_offset then o.suspect_starts + 1
            else 0 end
    from unnest($3::text[], $4::int[], $5::text[], $6::uuid[])
        v(topic, partition, cluster_id, topic_id)
    where o."group" = $1 and o.topic = v.topic and o.partition = v.partition"#;

/// The settings of the connection that is reserved for taking partitions over.
pub(super) fn settings() -> SessionSettings {
    SessionSettings {
        lock_timeout: LOCK_TIMEOUT,
        ..SessionSettings::with_statement_timeout(Duration::from_secs(20))
    }
}

/// Takes partitions of one group over, for one owner.
pub(super) struct Acquirer {
    /// The reserved connection: a busy pool must not keep a new owner from fencing the old one.
    pub(super) pool: SessionPool,
    /// The pipeline's name.
    pub(super) pipeline: String,
    /// The consumer group.
    pub(super) group: String,
    /// Who we are.
    pub(super) owner: Owner,
    /// Where a group begins that has no offset for a topic.
    pub(super) start: StartPosition,
    /// What the broker knows.
    pub(super) positions: Arc<dyn Positions>,
}

/// What was read of a row under its lock.
struct Locked {
    epoch: i64,
    next_offset: NextOffset,
    owner: Option<String>,
    cluster_id: Option<String>,
    topic_id: Option<Uuid>,
    at_work: bool,
    deaths: i32,
    suspect: Option<i64>,
    suspect_starts: i32,
}

impl Acquirer {
    /// See [`longshore_actors::ports::Store::acquire`].
    pub(super) async fn acquire(&self, fences: &[Arc<Fence>]) -> Result<Vec<Acquired>, StoreError> {
        let mut topics = Topics::new();
        for fence in fences {
            let topic = &fence.partition().topic;
            if !topics.contains_key(topic) {
                topics.insert(topic.clone(), self.positions.describe(topic).await?);
            }
        }
        let unfit = self
            .run(async |client| starts::settle(client, &self.group, self.start, &topics).await)
            .await?
            .map_err(|error| errors::classify(&error).into_store_error())?;
        let fences: Vec<&Fence> = fences.iter().map(AsRef::as_ref).collect();
        match self
            .run(async |client| self.take_over(client, &fences, &topics, &unfit).await)
            .await?
        {
            Ok(answers) => Ok(answers),
            Err(error) if is_locked(&error) => self.one_by_one(&fences, &topics, &unfit).await,
            Err(error) => Err(errors::classify(&error).into_store_error()),
        }
    }

    /// See [`longshore_actors::ports::Store::reacquire`].
    pub(super) async fn reacquire(&self, fence: &Fence) -> Result<Acquired, StoreError> {
        self.run(async |client| self.take_again(client, fence).await)
            .await?
            .map_err(|error| errors::classify(&error).into_store_error())
    }

    /// A row that somebody holds must not hold up the others.
    async fn one_by_one(
        &self,
        fences: &[&Fence],
        topics: &Topics,
        unfit: &HashMap<Arc<str>, Unfit>,
    ) -> Result<Vec<Acquired>, StoreError> {
        let mut answers = Vec::with_capacity(fences.len());
        for fence in fences {
            let one = std::slice::from_ref(fence);
            match self.run(async |client| self.take_over(client, one, topics, unfit).await).await? {
                Ok(answer) => answers.extend(answer),
                Err(error) if is_locked(&error) => {
                    let reason = errors::classify(&error).into_message();
                    answers.push(Acquired::Busy { reason });
                }
                Err(error) => return Err(errors::classify(&error).into_store_error()),
            }
        }
        Ok(answers)
    }

    /// Runs `work` on the reserved connection, which is closed unless all went well.
    async fn run<T, F>(&self, work: F) -> Result<Result<T, Error>, StoreError>
    where
        F: AsyncFnOnce(&Client) -> Result<T, Error>,
    {
        let lease = self.pool.lease().await.map_err(errors::Failure::into_store_error)?;
        let answer = with_deadline(work(lease.client())).await?;
        if answer.is_ok() {
            lease.hand_back();
        }
        Ok(answer)
    }

    async fn take_over(
        &self,
        client: &Client,
        fences: &[&Fence],
        topics: &Topics,
        unfit: &HashMap<Arc<str>, Unfit>,
    ) -> Result<Vec<Acquired>, Error> {
        client.batch_execute(BEGIN).await?;
        let mut rows = self.lock_rows(client, fences).await?;
        let (mut answers, mut taken) = (Vec::with_capacity(fences.len()), Vec::new());
        for fence in fences {
            let partition = fence.partition();
            let row = rows.remove(&(partition.topic.to_string(), partition.index));
            let answer = self.judge(fence, row, topics, unfit);
            if let Acquired::Held { .. } = answer {
                taken.push(*fence);
            }
            answers.push(answer);
        }
        self.write(client, &taken, topics).await?;
        client.batch_execute("commit").await?;
        Ok(answers)
    }

    /// What becomes of one partition whose row is locked.
    fn judge(
        &self,
        fence: &Fence,
        row: Option<Locked>,
        topics: &Topics,
        unfit: &HashMap<Arc<str>, Unfit>,
    ) -> Acquired {
        let partition = fence.partition();
        if !fence.stands() {
            return Acquired::Fallen;
        }
        if let Some(unfit) = unfit.get(&partition.topic) {
            return Acquired::Refused {
                reason: unfit.message(&self.pipeline, &self.group, &partition.topic),
            };
        }
        let Some(row) = row else {
            let reason = format!("the broker does not know {partition} yet");
            return Acquired::Busy { reason };
        };
        let now = &topics[&partition.topic];
        match Unfit::find(now, row.cluster_id.as_deref(), row.topic_id) {
            Some(unfit) => Acquired::Refused {
                reason: unfit.message(&self.pipeline, &self.group, &partition.topic),
            },
            None => Acquired::Held {
                epoch: row.epoch + 1,
                next_offset: row.next_offset,
                caution: row.caution(&self.owner.name()),
            },
        }
    }

    async fn take_again(&self, client: &Client, fence: &Fence) -> Result<Acquired, Error> {
        client.batch_execute(BEGIN).await?;
        let row = self.lock_rows(client, &[fence]).await?.into_values().next();
        let answer = self.judge_again(fence, row);
        if let Acquired::Held { .. } | Acquired::Moved { .. } = answer {
            self.write(client, &[fence], &Topics::new()).await?;
        }
        client.batch_execute("commit").await?;
        Ok(answer)
    }

    /// Whether the partition is still ours, now that whatever was under way has ended.
    fn judge_again(&self, fence: &Fence, row: Option<Locked>) -> Acquired {
        let Some(row) = row else {
            let reason = format!(
                "the stored offset of {} is gone from longshore.offsets: `longshore offsets set` \
                 says where to go on",
                fence.partition()
            );
            return Acquired::Refused { reason };
        };
        if !fence.stands() {
            return Acquired::Fallen;
        }
        let held = fence.position().map(|position| position.epoch);
        let (epoch, next_offset) = (row.epoch + 1, row.next_offset);
        let us = self.owner.name();
        match row.owner {
            Some(owner) if *owner == *us && held == Some(row.epoch) => {
                Acquired::Held { epoch, next_offset, caution: None }
            }
            // The owner is unique to this consumer: an epoch of our own that we do not know is that
            // of a reacquire whose answer was lost, perhaps after an operator moved the offset.
            Some(owner) if *owner == *us && held < Some(row.epoch) => {
                Acquired::Moved { epoch, next_offset }
            }
            None => Acquired::Moved { epoch, next_offset },
            owner => Acquired::Fenced { owner },
        }
    }

    async fn lock_rows(
        &self,
        client: &Client,
        fences: &[&Fence],
    ) -> Result<HashMap<(String, i32), Locked>, Error> {
        let (topics, partitions) = names(fences);
        let rows = client.query(LOCK_ROWS, &[&self.group, &topics, &partitions]).await?;
        Ok(rows.iter().map(|row| ((row.get(0), row.get(1)), Locked::read(row))).collect())
    }

    async fn write(
        &self,
        client: &Client,
        fences: &[&Fence],
        topics: &Topics,
    ) -> Result<(), Error> {
        if fences.is_empty() {
            return Ok(());
        }
        let (names, partitions) = names(fences);
        let described: Vec<_> = names.iter().map(|topic| topics.get(*topic)).collect();
        let clusters: Vec<_> = described.iter().map(|t| t.map(|t| t.cluster_id.as_str())).collect();
        let ids: Vec<_> = described.iter().map(|t| t.and_then(|t| t.topic_id)).collect();
        client
            .execute(
                TAKE_OVER,
                &[&self.group, &&*self.owner.name(), &names, &partitions, &clusters, &ids],
            )
            .await?;
        Ok(())
    }
}

impl Locked {
    /// What [`TAKE_OVER`] makes of the owners before `us`.
    fn caution(&self, us: &str) -> Option<Caution> {
        let died = self.at_work && self.owner.as_deref() != Some(us);
        let suspect = self.suspect.filter(|suspect| *suspect >= self.next_offset.0);
        let is_named = |_: &i64| died && self.suspect_starts + 1 >= STARTS_MAX;
        let condemned = suspect.filter(is_named).map(Offset);
        (self.deaths + i32::from(died) >= DEATHS_MAX).then_some(Caution { condemned })
    }

    fn read(row: &Row) -> Self {
        Self {
            epoch: row.get(2),
            next_offset: NextOffset(row.get(3)),
            owner: row.get(4),
            cluster_id: row.get(5),
            topic_id: row.get(6),
            at_work: row.get(7),
            deaths: row.get(8),
            suspect: row.get(9),
            suspect_starts: row.get(10),
        }
    }
}

fn names<'a>(fences: &[&'a Fence]) -> (Vec<&'a str>, Vec<i32>) {
    fences.iter().map(|fence| (&*fence.partition().topic, fence.partition().index)).unzip()
}

fn is_locked(error: &Error) -> bool {
    error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE)
}

async fn with_deadline<T>(work: impl Future<Output = T>) -> Result<T, StoreError> {
    tokio::time::timeout(DEADLINE, work).await.map_err(|_| {
        StoreError::Retry(format!("the database has not answered for {} s", DEADLINE.as_secs()))
    })
}
