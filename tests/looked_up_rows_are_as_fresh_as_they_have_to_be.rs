//! What a record is enriched with was read for its batch, or no longer ago than the configuration
//! allows; and what was added a moment before is found.

mod support;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use support::records::{Generator, Mix, Said};
use support::service::Service;
use support::stage::Stage;
use uuid::Uuid;

/// Records that are sent at a time, and how often.
const RECORDS: usize = 400;
const ROUNDS: usize = 60;

#[test]
fn rows_are_read_for_each_batch_unless_it_is_said_otherwise() {
    changes_are_seen(Duration::ZERO, |service| service);
}

#[test]
fn no_row_is_older_than_its_max_age() {
    let age = Duration::from_millis(300);
    changes_are_seen(age, |service| service.set("pipelines.ads", "max_age", "\"300 ms\""));
}

/// Campaigns change all the time under load. A saved name must be one that was current when its
/// record was sent, or `age` before that, or later.
fn changes_are_seen(age: Duration, with: impl Fn(Service) -> Service) {
    let Some(stage) = Stage::set(4) else { return };
    let mut process = with(stage.service()).start(&["run"]);
    let is_over = AtomicBool::new(false);
    let (sent, changed) = thread::scope(|threads| {
        let changes = threads.spawn(|| change_names(&stage.database.url, &is_over));
        let sent = send_with_new_campaigns(&stage);
        is_over.store(true, SeqCst);
        (sent, changes.join().expect("the changes"))
    });
    stage.await_end(&mut process);
    process.terminate().expect_code(0);
    assert!(changed.len() > 3, "{} changes are none", changed.len());
    assert_eq!(stage.database.number("select count(*) from longshore.parked_records"), 0);
    let saved = stage.database.query(
        "select event_id, campaign_name from ads.enriched_events where campaign_name like 'v%'",
        &[],
    );
    let mut late = 0;
    for row in &saved {
        let (id, name): (Uuid, String) = (row.get(0), row.get(1));
        let version: usize = name[1..].parse().expect("a version");
        // The one after it was there from then on.
        if let Some(replaced) = changed.get(version + 1) {
            let lag = sent[&id].checked_duration_since(*replaced).unwrap_or_default();
            assert!(lag <= age, "{id} has a name that was replaced {lag:?} before it was sent");
            late += usize::from(lag > Duration::ZERO);
        }
    }
    let all = stage.database.number("select count(*) from ads.enriched_events");
    assert_eq!(all as usize, sent.len(), "saved");
    println!("{} names seen in {} rows, {late} of them after a change", changed.len(), saved.len());
}

/// Names all campaigns anew until it is over; gives when each name was there for certain.
fn change_names(url: &str, is_over: &AtomicBool) -> Vec<Instant> {
    let mut client = postgres::Client::connect(url, postgres::NoTls).expect("a connection");
    let mut changed = Vec::new();
    while !is_over.load(SeqCst) {
        let name = format!("v{}", changed.len());
        // Not the ones that are added meanwhile.
        let update = "update ads.campaigns set name = $1 where id >= 1000000000000";
        client.execute(update, &[&name]).expect("changed names");
        changed.push(Instant::now());
    }
    changed
}

/// Sends records, each time with one of a campaign that was not there before. Gives when each was
/// sent.
fn send_with_new_campaigns(stage: &Stage) -> HashMap<Uuid, Instant> {
    let mut generator = stage.generator(61, Mix { odd_spelling: false, ..Mix::CLEAN });
    let mut sent = HashMap::new();
    for round in 0..ROUNDS {
        let mut drafts = generator.records(RECORDS);
        let mut event = generator.event();
        event.campaign_id = 1 + round as i64;
        stage.database.query(
            "insert into ads.campaigns values ($1, $2, 'new', 'active')",
            &[&event.campaign_id, &event.advertiser_id],
        );
        drafts.push(generator.record(0, event));
        let now = Instant::now();
        sent.extend(drafts.iter().filter_map(|draft| Some((draft.said.event_id()?, now))));
        stage.topic.send(drafts);
    }
    sent
}

#[test]
fn a_lookup_may_be_kept_while_another_one_is_read_for_each_batch() {
    let Some(stage) = Stage::set(1) else { return };
    let service = stage.service().set("pipelines.ads", "max_age", "\"per_batch\"").set(
        "pipelines.ads.lookups.campaigns",
        "max_age",
        "\"1h\"",
    );
    let mut process = service.start(&["run"]);
    let mut generator = stage.generator(62, Mix { odd_spelling: false, ..Mix::CLEAN });
    let event = generator.event();
    let mut send = |generator: &mut Generator, campaign_id: i64| {
        let mut event = event.clone();
        (event.event_id, event.campaign_id) = (generator.event().event_id, campaign_id);
        let draft = generator.record(0, event);
        let Said::Event(said) = draft.said.clone() else { panic!("an event") };
        stage.topic.send(vec![draft]);
        stage.await_end(&mut process);
        let names = "select advertiser_name, campaign_name from ads.enriched_events
                     where event_id = $1";
        let row = &stage.database.query(names, &[&said.event_id])[0];
        (row.get::<_, String>(0), row.get::<_, String>(1))
    };
    let before = send(&mut generator, event.campaign_id);
    stage.database.run(
        "update ads.campaigns set name = 'another'; update ads.advertisers set name = 'another'",
    );
    let kept = send(&mut generator, event.campaign_id);
    assert_eq!(kept, ("another".to_owned(), before.1));
    // Only rows are kept: that there was none is asked again.
    let insert = "insert into ads.campaigns select 7, advertiser_id, 'late', 'active'
                  from ads.campaigns where id = $1";
    stage.database.query(insert, &[&event.campaign_id]);
    assert_eq!(send(&mut generator, 7).1, "late");
    process.terminate().expect_code(0);
}

#[test]
fn a_lookup_that_is_not_there_is_named() {
    let Some(stage) = Stage::set(1) else { return };
    let service = stage.service().set("pipelines.ads.lookups.campaign", "max_age", "\"1 s\"");
    let refused = service.finish(&["check"]).expect_code(2);
    let refused = refused.expect_word("pipelines.ads.lookups.campaign");
    refused.expect_word("there are: advertisers, campaigns");
    let service = stage.service().set("pipelines.ads", "max_age", "\"soon\"");
    service.finish(&["check"]).expect_code(2).expect_word("or \"per_batch\"");
}
