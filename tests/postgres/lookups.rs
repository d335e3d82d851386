//! Bulk lookups, and the queries of the commands.

use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore::pipelines::ads::Ads;
use longshore::pipelines::ads::tables::{Known, Wanted};
use longshore::postgres::connect::SessionSettings;
use longshore::postgres::lookups::{LookupRules, PostgresLookups};
use longshore::postgres::migrate;
use longshore::postgres::offsets;
use longshore::postgres::pool::QueryPool;
use longshore::postgres::repeats::Repeats;
use longshore::service::PostgresPipeline;
use longshore_actors::error::StoreError;
use longshore_actors::pipeline::Keys;
use longshore_actors::ports::Lookups;
use longshore_actors::record::{NextOffset, PartitionId};
use serde_json::json;
use tokio::runtime::Handle;
use uuid::Uuid;

use super::support::*;

const ROWS: &str = "
    insert into ads.advertisers select n, 'Advertiser ' || n, 'active', 'EUR'
        from generate_series(1, 3000) n;
    insert into ads.campaigns select n, n % 3000 + 1, 'Campaign ' || n, 'paused'
        from generate_series(1, 9000) n;
    insert into ads.enriched_events values ('00000000-0000-0000-0000-000000000007', 'click', now(),
        1, 'a', 1, 'c', 'u', null, 0, 'EUR', true)";

fn pool(database: &Database) -> QueryPool {
    let settings = SessionSettings {
        lookups: true,
        ..SessionSettings::with_statement_timeout(Duration::from_secs(10))
    };
    QueryPool::new(&database.options, settings, 2, &Handle::current())
}

async fn load(lookups: &PostgresLookups<Ads>, wanted: &Arc<Wanted>) -> Known {
    Lookups::<Ads>::load(lookups, wanted.clone()).await.unwrap()
}

#[actix::test]
async fn a_batch_is_looked_up_in_one_go() {
    let Some(database) = database().await else { return };
    migrate::apply(&database.options, Arc::new([Ads::MIGRATIONS])).await.unwrap();
    database.client.batch_execute(ROWS).await.unwrap();
    let repeats = Arc::new(Repeats::default());
    let lookups =
        PostgresLookups::<Ads>::new(pool(&database), repeats.clone(), &LookupRules::default());
    let (mut wanted, mut more) = (Wanted::default(), Wanted::default());
    assert!(wanted.is_empty());
    for id in 0..5000 {
        wanted.advertisers.want(id);
        more.campaigns.want(id * 3);
    }
    more.advertisers.want(3000);
    more.saved.want(Uuid::from_u128(7));
    more.saved.want(Uuid::from_u128(8));
    wanted.unite(&more);
    let wanted = Arc::new(wanted);
    let known = load(&lookups, &wanted).await;
    assert_eq!((known.advertisers.num_read(), known.campaigns.num_read()), (3000, 3000));
    assert_eq!(known.advertisers.get(&7).unwrap().name, "Advertiser 7");
    assert_eq!(known.campaigns.get(&9).unwrap().advertiser_id, 10);
    assert!(known.advertisers.get(&0).is_none());
    // Probes are made while repeats are about.
    assert!(known.saved.is_empty());
    repeats.met();
    let known = load(&lookups, &wanted).await;
    assert!(known.saved.contains(&Uuid::from_u128(7)));
    assert!(!known.saved.contains(&Uuid::from_u128(8)));
    assert!(load(&lookups, &Arc::default()).await.campaigns.num_read() == 0);
    database.drop().await;
}

#[actix::test]
async fn a_missing_table_stops_and_a_lost_connection_is_retried() {
    let Some(database) = database().await else { return };
    let lookups = PostgresLookups::<Ads>::new(
        pool(&database),
        Arc::new(Repeats::default()),
        &LookupRules::default(),
    );
    let mut wanted = Wanted::default();
    wanted.advertisers.want(1);
    let wanted = Arc::new(wanted);
    match Lookups::<Ads>::load(&lookups, wanted.clone()).await {
        Err(StoreError::Stop(message)) => assert!(message.contains("ads.advertisers"), "{message}"),
        other => panic!("{:?}", other.err()),
    }
    migrate::apply(&database.options, Arc::new([Ads::MIGRATIONS])).await.unwrap();
    load(&lookups, &wanted).await;
    let kill = "select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid()";
    database.client.query(kill, &[]).await.unwrap();
    // The pool tests a connection before it gives it out.
    load(&lookups, &wanted).await;
    database.drop().await;
}

#[actix::test]
async fn commands_read_positions_and_parked_counts() {
    let Some(database) = database().await else { return };
    let (broker, make) = (Broker::new(2), Maker::new());
    let store = database.store("a", &broker);
    let fence = held(&store, 1).await;
    save(&store, &[make.batch(&fence, 0, &[json!({"id": 13}), json!({"id": 1})])]).await;
    let pool = pool(&database);
    let mut conn = pool.get().await.unwrap();
    let rows = offsets::of_groups(&mut conn, &[GROUP.to_owned()]).await.unwrap();
    let seen: Vec<_> = rows.iter().map(|r| (r.partition, r.next_offset, r.owner.clone())).collect();
    assert_eq!(seen, [(0, 0, None), (1, 2, Some("a".to_owned()))]);
    assert_eq!((rows[1].settled_records, rows[1].parked_records), (2, 1));
    let topics = [TOPIC.to_owned()];
    let positions = offsets::positions(&mut conn, GROUP, &topics).await.unwrap();
    assert_eq!(positions[&PartitionId::new(TOPIC, 1)], NextOffset(2));
    let counts = offsets::parked_counts(&mut conn, &[GROUP.to_owned()]).await.unwrap();
    assert_eq!(counts.len(), 1);
    assert_eq!((counts[0].partition, &*counts[0].state, counts[0].records), (1, "dead", 1));
    drop(conn);
    database.drop().await;
}

/// What may happen to a table, and to the rows of it.
const CHANGES: &[&str] = &[
    "update ads.campaigns set name = 'another' where id = 7",
    "update ads.campaigns set name = name || '!' where id % 1000 = 0",
    "delete from ads.campaigns where id = 8",
    "insert into ads.campaigns values (8, 1, 'back again', 'paused')",
    "delete from ads.campaigns where id = 9;
     insert into ads.campaigns values (9, 2, 'x', 'paused')",
    "insert into ads.campaigns values (20000, 2, 'new', 'active')",
    "begin; update ads.campaigns set name = 'taken back' where id = 7; rollback",
    "alter table ads.campaigns rename status to was_status;
     alter table ads.campaigns rename name to status;
     alter table ads.campaigns rename was_status to name",
    "alter table ads.campaigns drop column name;
     alter table ads.campaigns add name text default 'd'",
    "alter table ads.campaigns alter advertiser_id type bigint using advertiser_id % 3000 + 1",
    "create table other (like ads.campaigns including all);
     insert into other select id, advertiser_id, 'of the other', status from ads.campaigns",
    "alter table ads.campaigns rename to old; alter table other rename to campaigns;
     alter table campaigns set schema ads",
    "vacuum full ads.campaigns",
    "truncate ads.campaigns",
    "insert into ads.campaigns select n, 1, 'once more', 'paused' from generate_series(1, 9000) n",
];

/// The campaigns as `known` has them, and as they are.
async fn campaigns(database: &Database, lookups: &PostgresLookups<Ads>) -> (Known, bool) {
    let mut wanted = Wanted::default();
    (0..=9000).chain([20_000]).for_each(|id| wanted.campaigns.want(id));
    let rows = "select id, advertiser_id, name, status from ads.campaigns";
    let rows = database.client.query(rows, &[]).await.unwrap();
    let known = load(lookups, &Arc::new(wanted)).await;
    let found = (0..=9000).chain([20_000]).filter(|id| known.campaigns.get(id).is_some()).count();
    let is_same = |row: &tokio_postgres::Row| {
        known.campaigns.get(&row.get::<_, i64>(0)).is_some_and(|campaign| {
            let texts = (row.get::<_, &str>(2), row.get::<_, &str>(3));
            (campaign.advertiser_id, (&*campaign.name, &*campaign.status)) == (row.get(1), texts)
        })
    };
    let is_right = found == rows.len() && rows.iter().all(is_same);
    (known, is_right)
}

#[actix::test]
async fn a_table_that_is_kept_is_as_fresh_as_one_that_is_read() {
    let Some(database) = database().await else { return };
    migrate::apply(&database.options, Arc::new([Ads::MIGRATIONS])).await.unwrap();
    database.client.batch_execute(ROWS).await.unwrap();
    let rules = LookupRules::default();
    let lookups = PostgresLookups::<Ads>::new(pool(&database), Arc::default(), &rules);
    let keep = async || {
        // What others have under way on the server, in whatever database, puts it off.
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            let (known, is_right) = campaigns(&database, &lookups).await;
            assert!(is_right, "read");
            // What was not there is read each time.
            if known.campaigns.num_read() < 2 {
                return true;
            }
        }
        false
    };
    for change in CHANGES {
        assert!(keep().await, "kept before {change}");
        database.client.batch_execute(change).await.unwrap();
        assert!(campaigns(&database, &lookups).await.1, "after {change}");
    }
    assert!(keep().await, "a small table is kept");
    // Who began before it was kept may end after that.
    let writer = connect(&database.options).await;
    writer
        .batch_execute("begin; update ads.campaigns set name = 'late' where id = 5")
        .await
        .unwrap();
    database
        .client
        .batch_execute("update ads.campaigns set name = 'early' where id = 6")
        .await
        .unwrap();
    for _ in 0..20 {
        assert!(campaigns(&database, &lookups).await.1, "before a late commit");
    }
    writer.batch_execute("commit").await.unwrap();
    assert!(campaigns(&database, &lookups).await.1, "after a late commit");
    database.drop().await;
}

#[actix::test]
async fn what_is_no_plain_table_is_read_each_time() {
    let Some(database) = database().await else { return };
    migrate::apply(&database.options, Arc::new([Ads::MIGRATIONS])).await.unwrap();
    database.client.batch_execute(ROWS).await.unwrap();
    let view = "alter table ads.campaigns rename to those; create view ads.campaigns as
                select id, advertiser_id, name, (select max(status) from ads.advertisers) as status
                from ads.those";
    database.client.batch_execute(view).await.unwrap();
    let rules = LookupRules::default();
    let lookups = PostgresLookups::<Ads>::new(pool(&database), Arc::default(), &rules);
    for status in ["paused", "active", "paused", "active"] {
        let update = format!("update ads.advertisers set status = '{status}'");
        database.client.batch_execute(&update).await.unwrap();
        let (known, is_right) = campaigns(&database, &lookups).await;
        assert!(is_right && known.campaigns.num_read() == 9000, "{status}");
    }
    database.drop().await;
}
