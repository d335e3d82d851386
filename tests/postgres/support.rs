//! What the tests stand on: a database each, and a small pipeline of two tables.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use longshore::positions::StartPosition;
use longshore::postgres::connect::{ConnectOptions, SessionSettings};
use longshore::postgres::migrate::{self, MigrationSet};
use longshore::postgres::owner::Owner;
use longshore::postgres::pool::QueryPool;
use longshore::postgres::repeats::Repeats;
use longshore::postgres::row::Tables;
use longshore::postgres::save::SaveRules;
use longshore::postgres::store::{PostgresStore, StoreParams};
use longshore_actors::batch::{Home, WorkedBatch};
use longshore_actors::conservation::Settled;
use longshore_actors::error::{Reject, RetryLater, Unworked};
use longshore_actors::fence::Fence;
use longshore_actors::format::Format;
use longshore_actors::message::Message;
use longshore_actors::pipeline::{Out, Outcome, Pipeline};
use longshore_actors::ports::{Acquired, BatchReport, SessionId, Store};
use longshore_actors::record::{PartitionId, Record, Unparsed};
use longshore_actors::testing::{Given, home, work, work_due};
use serde::Deserialize;
use tokio::runtime::Handle;
use tokio_postgres::Client;
use uuid::Uuid;

pub(crate) use super::broker::Broker;

/// The group of all tests; each has a database of its own.
pub(crate) const GROUP: &str = "longshore.things";
pub(crate) const TOPIC: &str = "things";

/// What the tests' rows are saved to.
const TABLES: &str = r#"
    create schema things;
    create table things.parents (id bigint primary key);
    insert into things.parents select generate_series(1, 100);
    create table things.things (id bigint primary key, amount bigint not null check (amount >= 0),
        name varchar(20), parent bigint, made_at timestamptz not null default now());
    create table things.parts (thing bigint, no int, weight int constraint not_heavy
        check (weight < 1000), primary key (thing, no));
"#;

diesel::table! {
    things.things (id) {
        id -> BigInt,
        amount -> BigInt,
        name -> Nullable<Text>,
        parent -> Nullable<BigInt>,
    }
}

diesel::table! {
    things.parts (thing, no) {
        thing -> BigInt,
        no -> Integer,
        weight -> Integer,
    }
}

longshore::row! {
    pub(crate) struct ThingRow<'a> in things, key (id) {
        pub(crate) id: i64,
        pub(crate) amount: i64,
        pub(crate) name: Option<&'a str>,
        pub(crate) parent: Option<i64>,
    }
}

longshore::row! {
    pub(crate) struct PartRow in parts, key (thing, no) {
        pub(crate) thing: i64,
        pub(crate) no: i32,
        pub(crate) weight: i32,
    }
}

/// A record of the tests.
#[derive(Deserialize)]
pub(crate) struct Thing {
    pub(crate) id: i64,
    #[serde(default)]
    pub(crate) amount: i64,
    pub(crate) name: Option<String>,
    pub(crate) parent: Option<i64>,
    #[serde(default)]
    pub(crate) parts: Vec<i32>,
    /// Further keys in the first table.
    #[serde(default)]
    pub(crate) also: Vec<i64>,
    /// Values of messages to publish.
    #[serde(default)]
    pub(crate) tells: Vec<String>,
}

thread_local! {
    /// Whether what "later" things need is there.
    static IS_UP: Cell<bool> = const { Cell::new(false) };
}

/// From here on, things that are called "later" can be saved, or no longer.
pub(crate) fn set_up(is_up: bool) {
    IS_UP.set(is_up);
}

/// Saves things as they come, those below 0 without a row; rejects number 13, and puts off what is
/// called "later".
pub(crate) struct Things;

impl Pipeline for Things {
    const NAME: &'static str = "things";
    type Event<'a> = Thing;
    type Context = ();
    type Rows = (ThingRow<'static>, PartRow);

    fn parse<'a>(&self, record: &Record<'a>) -> Result<Thing, Unparsed> {
        record.decode()
    }

    fn keys(&self, _: &Thing, (): &mut ()) {}

    fn lane_key(&self, thing: &Thing, _: &Record<'_>, lane: &mut Vec<u8>) {
        lane.push((thing.id % 10) as u8);
    }

    async fn work(
        &self,
        thing: &Thing,
        (): &(),
        out: &mut Out<'_, Self::Rows>,
    ) -> Result<Outcome, Unworked> {
        if thing.id == 13 {
            return Err(Reject::new("unlucky", "thing 13").into());
        }
        if thing.name.as_deref() == Some("later") && !IS_UP.get() {
            return Err(RetryLater::new("away", format!("thing {}", thing.id)).into());
        }
        for told in &thing.tells {
            out.publish(Message::to("told").key("key").value(told.as_str()));
        }
        if thing.id < 0 {
            return Ok(Outcome::Save);
        }
        for (no, weight) in (0..).zip(&thing.parts) {
            out.save(&PartRow { thing: thing.id, no, weight: *weight });
        }
        for id in &thing.also {
            out.save(&ThingRow { id: *id, amount: 0, name: None, parent: None });
        }
        let (name, parent) = (thing.name.as_deref(), thing.parent);
        Ok(out.save(&ThingRow { id: thing.id, amount: thing.amount, name, parent }))
    }
}

/// A database of one test, dropped with it.
pub(crate) struct Database {
    name: String,
    server: ConnectOptions,
    pub(crate) options: ConnectOptions,
    pub(crate) client: Client,
    /// How the stores of this database save.
    pub(crate) rules: SaveRules,
}

/// The test's database; `None`, said aloud, where there is no server.
pub(crate) async fn database() -> Option<Database> {
    let _ = tracing_subscriber::fmt().with_test_writer().try_init();
    #[allow(clippy::disallowed_methods)] // Not configuration of the product.
    let Ok(url) = std::env::var("LONGSHORE_TEST_DATABASE_URL") else {
        println!("left out: LONGSHORE_TEST_DATABASE_URL is not set");
        return None;
    };
    let server = ConnectOptions::try_new(&url, None).unwrap();
    let name = format!("longshore_test_{}", Uuid::new_v4().simple());
    let client = connect(&server).await;
    client.batch_execute(&format!("create database {name}")).await.unwrap();
    let (head, options) = url.split_once('?').unwrap_or((&url, ""));
    let host = head.rfind('/').map_or(head, |at| &head[..at]);
    let url = format!("{host}/{name}?{options}");
    let options = ConnectOptions::try_new(&url, None).unwrap();
    migrate::apply(&options, Arc::new([MigrationSet::LONGSHORE])).await.unwrap();
    let client = connect(&options).await;
    client.batch_execute(TABLES).await.unwrap();
    Some(Database { name, server, options, client, rules: SaveRules::default() })
}

pub(crate) async fn connect(options: &ConnectOptions) -> Client {
    let settings = SessionSettings::with_statement_timeout(Duration::from_secs(60));
    options.connect(&settings, &Handle::current()).await.unwrap().0
}

impl Database {
    pub(crate) async fn drop(self) {
        let drop = format!("drop database {} with (force)", self.name);
        connect(&self.server).await.batch_execute(&drop).await.unwrap();
    }

    /// One number.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        self.client.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// One text of each row.
    pub(crate) async fn texts(&self, sql: &str) -> Vec<String> {
        self.client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }

    pub(crate) async fn things(&self) -> i64 {
        self.number("select count(*) from things.things").await
    }

    pub(crate) async fn next_offset(&self, partition: i32) -> i64 {
        let sql =
            format!("select next_offset from longshore.offsets where partition = {partition}");
        self.number(&sql).await
    }

    /// The offsets of the parked records of a partition, in order.
    pub(crate) async fn parked(&self, partition: i32) -> Vec<i64> {
        let sql =
            r#"select "offset" from longshore.parked_records where partition = $1 order by 1"#;
        self.client.query(sql, &[&partition]).await.unwrap().iter().map(|r| r.get(0)).collect()
    }

    /// A store of this test's pipeline.
    pub(crate) fn store(&self, owner: &str, broker: &Arc<Broker>) -> PostgresStore {
        self.store_with(owner, broker, StartPosition::Earliest)
    }

    pub(crate) fn store_with(
        &self,
        owner: &str,
        broker: &Arc<Broker>,
        start: StartPosition,
    ) -> PostgresStore {
        PostgresStore::new(StoreParams {
            options: self.options.clone(),
            runtime: Handle::current(),
            pipeline: Things::NAME.to_owned(),
            group: GROUP.to_owned(),
            topics: vec![TOPIC.to_owned()],
            start,
            owner: Owner::named(owner),
            sessions: 4,
            tables: <Things as Pipeline>::Rows::tables(),
            changed: Vec::new(),
            positions: broker.clone(),
            statement_timeout: Duration::from_secs(30),
            repeats: Arc::new(Repeats::default()),
            queries: QueryPool::new(
                &self.options,
                SessionSettings::with_statement_timeout(Duration::from_secs(30)),
                2,
                &Handle::current(),
            ),
            rules: self.rules.clone(),
            format: Format::Json,
        })
    }
}

pub(crate) fn fence(partition: i32) -> Arc<Fence> {
    Arc::new(Fence::new(PartitionId::new(TOPIC, partition)))
}

/// A fence for partition `partition`, acquired by `store`.
pub(crate) async fn held(store: &PostgresStore, partition: i32) -> Arc<Fence> {
    let fence = fence(partition);
    let answers = store.acquire(std::slice::from_ref(&fence)).await.unwrap();
    take(&fence, &answers[0]);
    fence
}

/// Holds what was acquired.
pub(crate) fn take(fence: &Fence, answer: &Acquired) {
    let Acquired::Held(holding) = answer else { panic!("not held: {answer:?}") };
    fence.lanes().begin(holding.lanes.clone());
    fence.hold(holding.epoch, holding.next_offset);
}

/// Makes batches of things.
pub(crate) struct Maker(Home);

impl Maker {
    pub(crate) fn new() -> Self {
        Self(home())
    }

    /// A batch of the records `things`, in JSON, from `from` on.
    pub(crate) fn batch(
        &self,
        fence: &Arc<Fence>,
        from: i64,
        things: &[serde_json::Value],
    ) -> WorkedBatch {
        let to = from + things.len() as i64;
        self.batch_to(fence, (from, to), things)
    }

    /// A batch that covers `[range.0, range.1)`.
    pub(crate) fn batch_to(
        &self,
        fence: &Arc<Fence>,
        range: (i64, i64),
        things: &[serde_json::Value],
    ) -> WorkedBatch {
        let value =
            |thing: &serde_json::Value| (!thing.is_null()).then(|| thing.to_string().into());
        let values = things.iter().map(value).collect();
        let (from, to) = range;
        let given = Given { fence, from, to, values, pieces: 3, by_key: false };
        work(&Things, &(), &given, self.0.clone())
    }

    /// The same in lanes by the last digit of the id, worked as one piece.
    pub(crate) fn in_lanes(
        &self,
        fence: &Arc<Fence>,
        from: i64,
        things: &[serde_json::Value],
    ) -> WorkedBatch {
        let values = things.iter().map(|thing| Some(thing.to_string().into())).collect();
        let to = from + things.len() as i64;
        let given = Given { fence, from, to, values, pieces: 1, by_key: true };
        work(&Things, &(), &given, self.0.clone())
    }

    /// A batch of all parked records of the fence's partition that are due; `None` if none is.
    pub(crate) async fn due(
        &self,
        store: &PostgresStore,
        fence: &Arc<Fence>,
    ) -> Option<WorkedBatch> {
        let due = store.due(fence, 1000, 1 << 20).await.unwrap()?;
        Some(work_due(&Things, &(), (fence, due), true, self.0.clone()))
    }
}

/// Saves over session 0 and expects every batch to be saved.
pub(crate) async fn save(store: &PostgresStore, group: &[WorkedBatch]) -> Vec<Settled> {
    save_over(store, 0, group).await
}

pub(crate) async fn save_over(
    store: &PostgresStore,
    session: usize,
    group: &[WorkedBatch],
) -> Vec<Settled> {
    let reports = store.save(SessionId(session), group).await.unwrap();
    assert_eq!(reports.len(), group.len());
    let settled: Vec<Settled> = reports
        .into_iter()
        .map(|report| match report {
            BatchReport::Saved(settled) => settled,
            other => panic!("not saved: {other:?}"),
        })
        .collect();
    for (settled, worked) in settled.iter().zip(group) {
        assert_eq!(settled.total(), worked.batch.parcel.arena.len() as u64, "conservation");
        worked.batch.settle(*settled);
    }
    settled
}

pub(crate) fn settled(saved: u64, duplicate: u64, parked: u64) -> Settled {
    Settled { saved, duplicate, parked, skipped: 0 }
}
