//! Taking partitions over: the epoch is bumped and the stored offset read, under the row's lock, so
//! that what an older owner has under way ends before and what it begins later is refused.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use longshore_actors::caution::{Caution, DEATHS_MAX, STARTS_MAX};
use longshore_actors::error::StoreError;
use longshore_actors::fence::Fence;
use longshore_actors::ports::{Acquired, Halt, Holding};
use longshore_actors::record::{NextOffset, Offset};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, Row};
use uuid::Uuid;

use super::connect::SessionSettings;
use super::errors;
use super::owner::Owner;
use super::pipelines;
use super::pool::SessionPool;
use super::starts::{self, Topics, Unfit};
use crate::positions::{Positions, StartPosition};

/// Longer than an own-writes transaction is held (10 s at most), so that an acquire outwaits it.
const LOCK_TIMEOUT: Duration = Duration::from_secs(15);

/// A server that says nothing for so long is away.
const DEADLINE: Duration = Duration::from_secs(45);

const BEGIN: &str = "begin isolation level read committed";

const LOCK_ROWS: &str = r#"
    select o.topic, o.partition, o.epoch, o.owner, o.cluster_id, o.topic_id
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
            when o.at_work and (o.suspect >= o.next_offset or exists (
                select from longshore.parked_records p
                where p."group" = o."group" and p.topic = o.topic and p.partition = o.partition
                  and p."offset" = o.suspect and p.state <> 'dead'))
            then o.suspect_starts + 1
            else 0 end
    from unnest($3::text[], $4::int[], $5::text[], $6::uuid[])
        v(topic, partition, cluster_id, topic_id)
    where o."group" = $1 and o.topic = v.topic and o.partition = v.partition
    returning o.topic, o.partition, o.epoch, o.next_offset, o.deaths, o.suspect, o.suspect_starts"#;

/// How many parked records of each lane come back.
const LANES: &str = r#"
    select p.topic, p.partition, p.lane_key, count(*)
    from longshore.parked_records p
    where p."group" = $1 and p.state <> 'dead' and p.lane_key is not null
      and (p.topic, p.partition) in (select * from unnest($2::text[], $3::int[]))
    group by p.topic, p.partition, p.lane_key"#;

const PIPELINE: &str = "select state, reason from longshore.pipelines where pipeline = $1";

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
    owner: Option<String>,
    cluster_id: Option<String>,
    topic_id: Option<Uuid>,
}

/// Rows by topic and partition.
type Rows<T> = HashMap<(String, i32), T>;

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
        let rows = self.lock_rows(client, fences).await?;
        let refuse = |fence: &&Fence| self.refusal(fence, rows.get(&key(fence)), topics, unfit);
        let refusals: Vec<Option<Acquired>> = fences.iter().map(refuse).collect();
        let going = fences.iter().zip(&refusals).filter(|(_, refusal)| refusal.is_none());
        let going: Vec<&Fence> = going.map(|(fence, _)| *fence).collect();
        let mut taken = self.write(client, &going, topics).await?;
        let halt = self.halt(client).await?;
        client.batch_execute("commit").await?;
        let answer = |(fence, refusal): (&&Fence, Option<Acquired>)| {
            refusal.unwrap_or_else(|| {
                let taken = taken.remove(&key(fence)).expect("a locked row is written");
                Acquired::Held(Holding { halt: halt.clone(), ..taken })
            })
        };
        Ok(fences.iter().zip(refusals).map(answer).collect())
    }

    /// Whether the pipeline is not to read just now.
    async fn halt(&self, client: &Client) -> Result<Option<Halt>, Error> {
        let row = client.query_opt(PIPELINE, &[&self.pipeline]).await?;
        Ok(row.and_then(|row| pipelines::halt(&self.pipeline, row.get(0), row.get(1))))
    }

    /// Why a partition is not taken over, its row being locked; `None` if it is.
    fn refusal(
        &self,
        fence: &Fence,
        row: Option<&Locked>,
        topics: &Topics,
        unfit: &HashMap<Arc<str>, Unfit>,
    ) -> Option<Acquired> {
        let partition = fence.partition();
        if !fence.stands() {
            return Some(Acquired::Fallen);
        }
        if let Some(unfit) = unfit.get(&partition.topic) {
            return Some(self.refused(unfit, fence));
        }
        let Some(row) = row else {
            let reason = format!("the broker does not know {partition} yet");
            return Some(Acquired::Busy { reason });
        };
        let now = &topics[&partition.topic];
        let unfit = Unfit::find(now, row.cluster_id.as_deref(), row.topic_id)?;
        Some(self.refused(&unfit, fence))
    }

    fn refused(&self, unfit: &Unfit, fence: &Fence) -> Acquired {
        let reason = unfit.message(&self.pipeline, &self.group, &fence.partition().topic);
        Acquired::Refused { reason }
    }

    async fn take_again(&self, client: &Client, fence: &Fence) -> Result<Acquired, Error> {
        client.batch_execute(BEGIN).await?;
        let row = self.lock_rows(client, &[fence]).await?.into_values().next();
        let answer = match self.judge_again(fence, row) {
            Err(answer) => answer,
            Ok(is_moved) => {
                let taken = self.write(client, &[fence], &Topics::new()).await?;
                let taken = taken.into_values().next().expect("a locked row is written");
                if is_moved {
                    Acquired::Moved(taken)
                } else {
                    Acquired::Held(Holding { caution: None, ..taken })
                }
            }
        };
        client.batch_execute("commit").await?;
        Ok(answer)
    }

    /// Whether the partition is still ours, now that whatever was under way has ended, and if so,
    /// whether an operator moved its offset.
    fn judge_again(&self, fence: &Fence, row: Option<Locked>) -> Result<bool, Acquired> {
        let Some(row) = row else {
            let reason = format!(
                "the stored offset of {} is gone from longshore.offsets: `longshore offsets set` \
                 says where to go on",
                fence.partition()
            );
            return Err(Acquired::Refused { reason });
        };
        if !fence.stands() {
            return Err(Acquired::Fallen);
        }
        let held = fence.position().map(|position| position.epoch);
        let us = self.owner.name();
        match row.owner {
            Some(owner) if *owner == *us && held == Some(row.epoch) => Ok(false),
            // The owner is unique to this consumer: an epoch of our own that we do not know is that
            // of a reacquire whose answer was lost, perhaps after an operator moved the offset.
            Some(owner) if *owner == *us && held < Some(row.epoch) => Ok(true),
            None => Ok(true),
            owner => Err(Acquired::Fenced { owner }),
        }
    }

    async fn lock_rows(&self, client: &Client, fences: &[&Fence]) -> Result<Rows<Locked>, Error> {
        let (topics, partitions) = names(fences);
        let rows = client.query(LOCK_ROWS, &[&self.group, &topics, &partitions]).await?;
        Ok(rows.iter().map(|row| ((row.get(0), row.get(1)), Locked::read(row))).collect())
    }

    async fn write(
        &self,
        client: &Client,
        fences: &[&Fence],
        topics: &Topics,
    ) -> Result<Rows<Holding>, Error> {
        if fences.is_empty() {
            return Ok(Rows::new());
        }
        let (names, partitions) = names(fences);
        let described: Vec<_> = names.iter().map(|topic| topics.get(*topic)).collect();
        let clusters: Vec<_> = described.iter().map(|t| t.map(|t| t.cluster_id.as_str())).collect();
        let ids: Vec<_> = described.iter().map(|t| t.and_then(|t| t.topic_id)).collect();
        let rows = client
            .query(
                TAKE_OVER,
                &[&self.group, &&*self.owner.name(), &names, &partitions, &clusters, &ids],
            )
            .await?;
        let mut taken: Rows<Holding> =
            rows.iter().map(|row| ((row.get(0), row.get(1)), holding(row))).collect();
        for row in client.query(LANES, &[&self.group, &names, &partitions]).await? {
            if let Some(taken) = taken.get_mut(&(row.get(0), row.get(1))) {
                let records: i64 = row.get(3);
                taken.lanes.push((row.get(2), u32::try_from(records).unwrap_or(u32::MAX)));
            }
        }
        Ok(taken)
    }
}

impl Locked {
    fn read(row: &Row) -> Self {
        Self { epoch: row.get(2), owner: row.get(3), cluster_id: row.get(4), topic_id: row.get(5) }
    }
}

/// What a row says after it was taken over.
fn holding(row: &Row) -> Holding {
    let (deaths, suspect, starts): (i32, Option<i64>, i32) = (row.get(4), row.get(5), row.get(6));
    let condemned = suspect.filter(|_| starts >= STARTS_MAX).map(Offset);
    let caution = (deaths >= DEATHS_MAX).then_some(Caution { condemned });
    let (epoch, next_offset) = (row.get(2), NextOffset(row.get(3)));
    Holding { epoch, next_offset, caution, ..Holding::default() }
}

fn key(fence: &Fence) -> (String, i32) {
    (fence.partition().topic.to_string(), fence.partition().index)
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
