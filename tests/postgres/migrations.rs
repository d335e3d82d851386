//! Migrations: embedded, applied once, beside other people's tables.

use std::sync::Arc;

use longshore::pipelines::ads::Ads;
use longshore::postgres::migrate::{self, MigrationSet};
use longshore::service::PostgresPipeline;

use super::support::*;

const SETS: [MigrationSet; 2] = [MigrationSet::LONGSHORE, Ads::MIGRATIONS];

#[actix::test]
async fn migrations_are_pending_then_applied_then_done() {
    let Some(database) = database().await else { return };
    // The test's database has Longshore's own. Diesel's table of an application is not ours.
    let others = "create table public.__diesel_schema_migrations (version text primary key);
        insert into public.__diesel_schema_migrations values ('20261121000101')";
    database.client.batch_execute(others).await.unwrap();
    let name = "ads/20261121000101_create_tables";
    assert_eq!(migrate::pending(&database.options, &SETS).await.unwrap(), [name]);
    let sql = migrate::dry_run(&database.options, &SETS).await.unwrap();
    assert!(sql.starts_with(&format!("-- {name}\n")), "{sql}");
    assert!(sql.contains("create table if not exists ads.enriched_events"), "{sql}");
    assert!(!sql.contains("search_path"), "{sql}");
    assert_eq!(migrate::pending(&database.options, &SETS).await.unwrap(), [name]);
    // Several instances start at once.
    let sets = Arc::new(SETS);
    let (one, two) = futures_util::future::join(
        migrate::apply(&database.options, sets.clone()),
        migrate::apply(&database.options, sets),
    )
    .await;
    let mut applied = [one.unwrap(), two.unwrap()].concat();
    applied.sort_unstable();
    assert_eq!(applied, [name]);
    assert!(migrate::pending(&database.options, &SETS).await.unwrap().is_empty());
    assert_eq!(migrate::dry_run(&database.options, &SETS).await.unwrap(), "");
    let untouched = "select count(*) from public.__diesel_schema_migrations";
    assert_eq!(database.number(untouched).await, 1);
    database.drop().await;
}

#[actix::test]
async fn tables_that_are_there_are_adopted_with_their_data() {
    let Some(database) = database().await else { return };
    let theirs = "create schema ads; create table ads.advertisers (id bigint primary key, name text
        not null, status text not null check (status in ('active','paused')), currency char(3) not
        null); insert into ads.advertisers values (1, 'Acme', 'active', 'EUR')";
    database.client.batch_execute(theirs).await.unwrap();
    migrate::apply(&database.options, Arc::new(SETS)).await.unwrap();
    assert_eq!(database.number("select count(*) from ads.advertisers").await, 1);
    database.drop().await;
}
