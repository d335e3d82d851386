//! Messages are written with the rows of their record or not at all, and what is to be published is
//! read and marked by the partition's owner alone.

use std::sync::Arc;

use longshore::postgres::connect::SessionSettings;
use longshore::postgres::outbox::PostgresOutbox;
use longshore::postgres::owner::Owner;
use longshore::postgres::pool::QueryPool;
use longshore_actors::fence::Fence;
use longshore_actors::publisher::{Kind, Outbox, Outgoing, PassLimits, Verdict};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::support::*;

const ROOMY: PassLimits = PassLimits { messages: 1000, bytes: 1 << 20 };

fn outbox(database: &Database, owner: &str) -> PostgresOutbox {
    let settings = SessionSettings::with_statement_timeout(std::time::Duration::from_secs(30));
    PostgresOutbox {
        pool: QueryPool::new(&database.options, settings, 1, &Handle::current()),
        group: GROUP.to_owned(),
        owner: Owner::named(owner),
        dead_letter_topic: Some("things.dead-letter".to_owned()),
    }
}

/// A thing that asks for messages.
fn telling(id: i64, tells: &[&str]) -> Value {
    json!({ "id": id, "tells": tells })
}

/// Topic and value of all messages in the order of their ids.
async fn told(database: &Database) -> Vec<String> {
    let sql =
        "select topic || ':' || convert_from(value, 'utf8') from longshore.outbox order by id";
    database.texts(sql).await
}

fn values(outgoing: &[Outgoing], kind: Kind) -> Vec<String> {
    let of_kind = outgoing.iter().filter(|message| message.row.kind == kind);
    let value = |message: &Outgoing| String::from_utf8(message.value.clone().unwrap()).unwrap();
    of_kind.map(value).collect()
}

fn published(outgoing: &[Outgoing]) -> Vec<Verdict> {
    let verdict =
        |message: &Outgoing| Verdict { row: message.row, fence: message.fence, outcome: Ok(()) };
    outgoing.iter().map(verdict).collect()
}

fn header(message: &Outgoing, name: &str) -> Option<String> {
    let found = message.headers.iter().rfind(|(of, _)| of == name.as_bytes());
    found.map(|(_, value)| String::from_utf8(value.clone().unwrap()).unwrap())
}

#[actix::test]
async fn messages_go_with_the_rows_of_their_record_in_order() {
    let Some(database) = database().await else { return };
    let (store, maker) = (database.store("a", &Broker::new(1)), Maker::new());
    let fence = held(&store, 0).await;
    let things = [
        telling(1, &["a", "b"]),
        telling(13, &["rejected"]),
        json!({"id": 2, "amount": -1, "tells": ["refused by a check"]}),
        telling(3, &["c"]),
        telling(1, &["a duplicate"]),
        telling(4, &["d"]),
        // Nothing but messages.
        telling(-1, &["e", "f"]),
    ];
    let reports = save(&store, &[maker.batch(&fence, 0, &things)]).await;
    assert_eq!(reports, [settled(4, 1, 2)]);
    let all = ["told:a", "told:b", "told:c", "told:d", "told:e", "told:f"];
    assert_eq!(told(&database).await, all);
    let places = r#"select source_partition || '/' || source_offset from longshore.outbox
        order by id"#;
    assert_eq!(database.texts(places).await, ["0/0", "0/0", "0/3", "0/5", "0/6", "0/6"]);
    database.drop().await;
}

#[actix::test]
async fn what_is_put_off_publishes_when_it_is_saved_at_last() {
    let Some(database) = database().await else { return };
    let (store, maker) = (database.store("a", &Broker::new(1)), Maker::new());
    let fence = held(&store, 0).await;
    set_up(false);
    let things = [json!({"id": 21, "name": "later", "tells": ["first"]}), telling(31, &["behind"])];
    save(&store, &[maker.in_lanes(&fence, 0, &things)]).await;
    assert_eq!(told(&database).await, [""; 0], "the one is put off, the other waits for it");
    set_up(true);
    let now = "update longshore.parked_records set due_at = now() where state = 'retrying'";
    database.client.batch_execute(now).await.unwrap();
    save(&store, &[maker.due(&store, &fence).await.unwrap()]).await;
    assert_eq!(told(&database).await, ["told:first", "told:behind"]);
    database.drop().await;
}

#[actix::test]
async fn a_pipeline_without_publishing_writes_nothing_to_the_outbox() {
    let Some(database) = database().await else { return };
    let (store, maker) = (database.store("a", &Broker::new(1)), Maker::new());
    let fence = held(&store, 0).await;
    save(&store, &[maker.batch(&fence, 0, &[json!({"id": 1}), json!({"id": 2})])]).await;
    assert_eq!(database.number("select nextval('longshore.outbox_id_seq')").await, 1);
    database.drop().await;
}

/// Saves two messages and a dead record in each of partitions 0 and 1, for owner `a`.
async fn prepared(database: &Database) -> Vec<Arc<Fence>> {
    let (store, maker) = (database.store("a", &Broker::new(2)), Maker::new());
    let fences = vec![held(&store, 0).await, held(&store, 1).await];
    for (partition, fence) in (0..).zip(&fences) {
        let id = partition * 100;
        let things = [
            telling(id + 1, &["a"]),
            json!({"id": 13, "name": "unlucky"}),
            telling(id + 2, &["b"]),
        ];
        save(&store, &[maker.batch(fence, 0, &things)]).await;
    }
    fences
}

#[actix::test]
async fn the_owner_reads_in_order_and_marks_what_is_published() {
    let Some(database) = database().await else { return };
    let (fences, outbox) = (prepared(&database).await, outbox(&database, "a"));
    let all = outbox.unpublished(&fences, ROOMY).await.unwrap();
    assert_eq!(values(&all, Kind::Outbox), ["a", "b", "a", "b"]);
    assert_eq!(all.iter().map(|m| m.fence).collect::<Vec<_>>(), [0, 0, 1, 1, 0, 1]);
    let dead = all.iter().find(|message| message.row.kind == Kind::DeadLetter).unwrap();
    assert_eq!(
        (dead.topic.as_str(), dead.key.as_deref()),
        ("things.dead-letter", Some(&b"key"[..]))
    );
    assert_eq!(dead.headers[0], (b"test".to_vec(), Some(b"1".to_vec())), "as it came, and first");
    for (name, value) in [
        ("longshore-id", "longshore.things/things/0/1"),
        ("longshore-pipeline", "things"),
        ("longshore-original-topic", "things"),
        ("longshore-original-partition", "0"),
        ("longshore-original-offset", "1"),
        ("longshore-original-timestamp", "1"),
        ("longshore-reason", "unlucky"),
        ("longshore-error", "thing 13"),
        ("longshore-attempts", "1"),
    ] {
        assert_eq!(header(dead, name).as_deref(), Some(value), "{name}");
    }
    let id = header(&all[0], "longshore-id").unwrap();
    assert_eq!(id, format!("{GROUP}/{}", all[0].row.id));
    // One is refused for good: it is a state, and nothing waits for it.
    let mut verdicts = published(&all);
    verdicts[1].outcome = Err("too large".to_owned());
    outbox.mark(&fences, &verdicts).await.unwrap();
    assert_eq!(outbox.unpublished(&fences, ROOMY).await.unwrap(), []);
    let refused = "select error from longshore.outbox where failed_at is not null";
    assert_eq!(database.texts(refused).await, ["too large"]);
    let relayed = "select count(*) from longshore.parked_records where relayed_at is not null";
    assert_eq!(database.number(relayed).await, 2);
    database.drop().await;
}

#[actix::test]
async fn bounds_cut_behind_what_fits_and_one_message_always_does() {
    let Some(database) = database().await else { return };
    let (fences, outbox) = (prepared(&database).await, outbox(&database, "a"));
    let narrow = PassLimits { messages: 1000, bytes: 1 };
    let first = outbox.unpublished(&fences, narrow).await.unwrap();
    assert_eq!(values(&first, Kind::Outbox), ["a"]);
    assert_eq!(values(&first, Kind::DeadLetter).len(), 1);
    outbox.mark(&fences, &published(&first)).await.unwrap();
    let next = outbox.unpublished(&fences, narrow).await.unwrap();
    assert_eq!((values(&next, Kind::Outbox), next[0].fence), (vec!["b".to_owned()], 0));
    database.drop().await;
}

#[actix::test]
async fn another_owner_or_an_older_epoch_reads_nothing_and_marks_nothing() {
    let Some(database) = database().await else { return };
    let (fences, outbox_of_a) = (prepared(&database).await, outbox(&database, "a"));
    let all = outbox_of_a.unpublished(&fences, ROOMY).await.unwrap();
    // Partition 0 is taken over while they are on their way.
    let store_of_b = database.store("b", &Broker::new(2));
    let taken = held(&store_of_b, 0).await;
    outbox_of_a.mark(&fences, &published(&all)).await.unwrap();
    assert_eq!(outbox_of_a.unpublished(&fences, ROOMY).await.unwrap(), []);
    let left = outbox(&database, "b").unpublished(std::slice::from_ref(&taken), ROOMY).await;
    let left = left.unwrap();
    assert_eq!(values(&left, Kind::Outbox), ["a", "b"], "the new owner sends them again");
    assert_eq!(left[0].row, all[0].row, "under the same id");
    let published = "select count(*) from longshore.outbox where published_at is not null";
    assert_eq!(database.number(published).await, 2, "those of partition 1 alone");
    fences[1].fall();
    assert_eq!(
        outbox_of_a.unpublished(&fences, ROOMY).await.unwrap(),
        [],
        "and of no fallen fence"
    );
    database.drop().await;
}

#[actix::test]
async fn a_dead_record_that_came_back_meanwhile_is_not_marked() {
    let Some(database) = database().await else { return };
    let (fences, outbox) = (prepared(&database).await, outbox(&database, "a"));
    let all = outbox.unpublished(&fences, ROOMY).await.unwrap();
    let again = "update longshore.parked_records set attempts = 2, updated_at = now()
        where partition = 0";
    database.client.batch_execute(again).await.unwrap();
    outbox.mark(&fences, &published(&all)).await.unwrap();
    let left = outbox.unpublished(&fences, ROOMY).await.unwrap();
    assert_eq!((left.len(), left[0].fence), (1, 0), "it is published as it is now");
    assert_eq!(header(&left[0], "longshore-attempts").as_deref(), Some("2"));
    database.drop().await;
}

#[actix::test]
async fn what_was_published_a_day_ago_is_removed() {
    let Some(database) = database().await else { return };
    let (fences, outbox) = (prepared(&database).await, outbox(&database, "a"));
    let all = outbox.unpublished(&fences, ROOMY).await.unwrap();
    let (first, rest) = all.split_at(1);
    outbox.mark(&fences, &published(first)).await.unwrap();
    let old = "update longshore.outbox set published_at = now() - interval '25 hours'
        where published_at is not null";
    database.client.batch_execute(old).await.unwrap();
    outbox.mark(&fences, &published(rest)).await.unwrap();
    assert_eq!(database.number("select count(*) from longshore.outbox").await, 3);
    database.drop().await;
}
