//! Bulk lookups, and the queries of the commands.

use std::sync::Arc;
use std::time::Duration;

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
