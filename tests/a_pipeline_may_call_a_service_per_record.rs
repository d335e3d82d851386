//! Promise: a pipeline may call a service for each record. Calls overlap up to the limit, those of
//! one key follow each other, a call that takes too long and one that is answered 503 come back,
//! one that is answered 422 is rejected alone; and each record's effect is there once.
#![allow(missing_docs, reason = "diesel's tables bring items without any")]

mod support;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, web};
use longshore::config::{Config, Layers};
use longshore::postgres::connect::ConnectOptions;
use longshore::postgres::migrate::{self, MigrationSet};
use longshore::service::{AnyPipeline, PostgresPipeline, Service, ServiceView};
use longshore_actors::error::{Reject, RetryLater, Unworked};
use longshore_actors::pipeline::{Out, Outcome, Pipeline};
use longshore_actors::record::{Record, Unparsed};
use serde::Deserialize;
use support::records::{Draft, Said};
use support::servers::servers;
use support::{database::Database, topics::Topic};

const PARTITIONS: i32 = 4;
const ACCOUNTS: i64 = 60;
const RECORDS: i64 = 1200;
/// Calls at a time.
const IN_FLIGHT: usize = 16;
/// How long the service works on a call.
const CALL: Duration = Duration::from_millis(5);

diesel::table! { charges (id) { id -> BigInt, account -> Text, } }

longshore::row! {
    /// A charge that the service has taken.
    pub struct Taken<'a> in charges, key (id) {
        /// Its id.
        pub id: i64,
        /// Whose.
        pub account: &'a str,
    }
}

/// What a record says.
#[derive(Debug, Deserialize)]
pub struct Charge {
    id: i64,
    account: String,
}

/// Has each charge taken by the service at this address.
struct Charges {
    url: String,
    client: reqwest::Client,
}

impl Pipeline for Charges {
    const NAME: &'static str = "charges";
    type Event<'a> = Charge;
    type Context = ();
    type Rows = (Taken<'static>,);

    fn parse<'a>(&self, record: &Record<'a>) -> Result<Charge, Unparsed> {
        record.decode()
    }

    fn keys(&self, _: &Charge, (): &mut ()) {}

    async fn work(
        &self,
        charge: &Charge,
        (): &(),
        out: &mut Out<'_, Self::Rows>,
    ) -> Result<Outcome, Unworked> {
        let url = format!("{}/{}/{}", self.url, charge.account, charge.id);
        let answer = self.client.post(url).send().await;
        let answer = answer.map_err(|error| RetryLater::new("no answer", error.to_string()))?;
        match answer.status().as_u16() {
            422 => Err(Reject::new("refused", charge.id.to_string()).into()),
            200 => Ok(out.save(&Taken { id: charge.id, account: &charge.account })),
            status => Err(RetryLater::new("service", status.to_string()).into()),
        }
    }
}

impl PostgresPipeline for Charges {
    const MIGRATIONS: MigrationSet = MigrationSet::new(
        "charges",
        diesel_migrations::embed_migrations!("tests/charges_migrations"),
    );
}

/// What the service does at the first calls for a charge.
fn is_refused(id: i64) -> bool {
    id % 100 == 13
}

fn is_busy_at_first(id: i64) -> bool {
    id % 100 == 37
}

fn is_slow_at_first(id: i64) -> bool {
    id % 400 == 71
}

/// What the service has seen.
#[derive(Default)]
struct Seen {
    now: AtomicUsize,
    most: AtomicUsize,
    /// Each account's charges, in the order in which their calls began.
    calls: Mutex<HashMap<String, Vec<i64>>>,
    /// Accounts that have a call under way.
    under_way: Mutex<HashMap<String, usize>>,
    overlaps: AtomicUsize,
}

/// A call under way.
struct Call<'s>(&'s Seen, String);

impl Seen {
    fn begin(&self, account: &str, id: i64) -> (Call<'_>, usize) {
        self.most.fetch_max(self.now.fetch_add(1, SeqCst) + 1, SeqCst);
        let mut calls = self.calls.lock().expect("no panic");
        let of = calls.entry(account.to_owned()).or_default();
        of.push(id);
        let times = of.iter().filter(|other| **other == id).count();
        let mut under_way = self.under_way.lock().expect("no panic");
        let also = under_way.entry(account.to_owned()).or_default();
        *also += 1;
        self.overlaps.fetch_add(usize::from(*also > 1), SeqCst);
        (Call(self, account.to_owned()), times)
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, SeqCst);
        if let Some(also) = self.0.under_way.lock().expect("no panic").get_mut(&self.1) {
            *also -= 1;
        }
    }
}

async fn charge(path: web::Path<(String, i64)>, seen: web::Data<Seen>) -> HttpResponse {
    let (account, id) = path.into_inner();
    let (call, times) = seen.begin(&account, id);
    actix_web::rt::time::sleep(CALL).await;
    if is_slow_at_first(id) && times == 1 {
        // The caller hangs up long before the end, which is nothing that the service would hear of.
        drop(call);
        actix_web::rt::time::sleep(Duration::from_secs(3)).await;
    }
    match () {
        () if is_refused(id) => HttpResponse::UnprocessableEntity().finish(),
        () if is_busy_at_first(id) && times < 3 => HttpResponse::ServiceUnavailable().finish(),
        () => HttpResponse::Ok().finish(),
    }
}

/// Starts the service on a thread of its own; gives its address.
fn serve(seen: web::Data<Seen>) -> String {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let app = move || {
            let route = web::post().to(charge);
            App::new().app_data(seen.clone()).route("/{account}/{id}", route)
        };
        let server = HttpServer::new(app).workers(1).bind("127.0.0.1:0").expect("an address");
        tell.send(format!("http://{}", server.addrs()[0])).expect("somebody waits");
        actix_web::rt::System::new().block_on(server.run())
    });
    told.recv().expect("the service starts")
}

fn draft(id: i64) -> Draft {
    let account = format!("a{}", id % ACCOUNTS);
    let value = serde_json::json!({ "id": id, "account": account }).to_string();
    Draft {
        partition: i32::try_from(id % ACCOUNTS).expect("a few") % PARTITIONS,
        key: Some(account.into_bytes()),
        value: Some(value.into_bytes()),
        // Not old, or the broker deletes it.
        timestamp_ms: chrono::Utc::now().timestamp_millis(),
        headers: Vec::new(),
        said: Said::Tombstone,
    }
}

fn config(
    (brokers, topic): (&str, &str),
    database: &str,
    pipelines: &[Arc<dyn AnyPipeline>],
) -> Config {
    let text = format!(
        "workers = 3\nkafka.brokers = {brokers:?}\ndatabase.url = {database:?}\n\
         [pipelines.charges]\ntopics = [{topic:?}]\ngroup = \"group.of.{topic}\"\n\
         start = \"earliest\"\nbatch.records = 100\n\
         work = {{ in_flight = {IN_FLIGHT}, timeout = \"500 ms\" }}\n\
         retry = {{ first = \"50 ms\", max = \"100 ms\" }}\n",
    );
    let kinds: Vec<_> = pipelines.iter().map(|pipeline| pipeline.kind()).collect();
    let layers = Layers::new().text("the test's configuration", &text).expect("it is TOML");
    layers.build(&kinds).expect("it is a configuration")
}

#[test]
fn calls_overlap_within_their_limit_and_each_answer_has_its_fate() {
    let Some(servers) = servers() else { return };
    let database = Database::fresh(&servers);
    let topic = Topic::fresh(&servers.brokers, PARTITIONS, &[]);
    topic.send((0..RECORDS).map(draft).collect());
    let seen = web::Data::new(Seen::default());
    // The client wants one, although nothing is encrypted here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (url, client) = (serve(seen.clone()), reqwest::Client::new());
    let pipelines: Vec<Arc<dyn AnyPipeline>> = vec![Arc::new(Charges { url, client })];
    let config = config((&servers.brokers, &topic.name), &database.url, &pipelines);
    actix::System::new().block_on(async {
        let options = ConnectOptions::try_new(&database.url, None).expect("a URL");
        let sets = Arc::new([MigrationSet::LONGSHORE, Charges::MIGRATIONS]);
        migrate::apply(&options, sets).await.expect("tables");
        let mut service = Service::start(&config, &pipelines, &ServiceView::default())
            .await
            .expect("the service starts");
        service.run(true).await.expect("it comes to the end");
        service.drain().await.expect("it drains");
    });
    assert_rows(&database);
    assert_calls(&seen);
}

/// Every charge but the refused ones is there, and those are parked.
fn assert_rows(database: &Database) {
    let of = |row: postgres::Row| row.get::<_, i64>(0);
    let taken = database.query("select id from charges order by id", &[]);
    let taken: Vec<_> = taken.into_iter().map(of).collect();
    assert_eq!(taken, (0..RECORDS).filter(|id| !is_refused(*id)).collect::<Vec<_>>());
    let dead = "select (convert_from(value, 'utf8')::json ->> 'id')::bigint
        from longshore.parked_records where state = 'dead' and reason = 'refused' order by 1";
    let dead: Vec<_> = database.query(dead, &[]).into_iter().map(of).collect();
    assert_eq!(dead, (0..RECORDS).filter(|id| is_refused(*id)).collect::<Vec<_>>());
    assert_eq!(database.number("select count(*) from longshore.parked_records"), 12);
}

/// As many calls at a time as the limit allows, one of each account, in order; and as many for each
/// charge as its answers ask for.
fn assert_calls(seen: &Seen) {
    assert_eq!(seen.most.load(SeqCst), IN_FLIGHT);
    assert_eq!(seen.overlaps.load(SeqCst), 0, "calls for one account at a time");
    for (account, calls) in seen.calls.lock().expect("no panic").iter() {
        assert!(calls.is_sorted(), "{account}: {calls:?}");
        for id in calls {
            let times = calls.iter().filter(|other| *other == id).count();
            let wanted = match id {
                id if is_busy_at_first(*id) => 3,
                id if is_slow_at_first(*id) => 2,
                _ => 1,
            };
            assert_eq!(times, wanted, "charge {id} of {account}");
        }
    }
}
