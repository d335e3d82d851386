//! Only a saved record makes a later one a duplicate.

use longshore_actors::ports::Store;
use serde_json::{Value, json};

use super::support::*;

fn thing(id: i64) -> Value {
    json!({"id": id, "parts": [1]})
}

#[actix::test]
async fn the_first_of_a_transaction_wins_and_the_others_are_duplicates() {
    let Some(database) = database().await else { return };
    let (broker, make) = (Broker::new(2), Maker::new());
    let store = database.store("a", &broker);
    let fences = [held(&store, 0).await, held(&store, 1).await];
    let named = |id: i64, name: &str| json!({"id": id, "name": name, "parts": [1]});
    let group = [
        make.batch(&fences[0], 0, &[named(1, "first"), named(2, "only"), named(1, "second")]),
        make.batch(&fences[0], 3, &[named(1, "third")]),
        make.batch(&fences[1], 0, &[named(3, "only"), named(2, "other partition")]),
    ];
    let expected = [settled(2, 1, 0), settled(0, 1, 0), settled(1, 1, 0)];
    assert_eq!(save(&store, &group).await, expected);
    let names = database.texts("select name from things.things order by id").await;
    assert_eq!(names, ["first", "only", "only"]);
    assert_eq!(database.number("select count(*) from things.parts").await, 3);
    database.drop().await;
}

#[actix::test]
async fn a_repeat_of_an_earlier_transaction_is_a_duplicate_in_every_session() {
    let Some(database) = database().await else { return };
    let (broker, make) = (Broker::new(2), Maker::new());
    let store = database.store("a", &broker);
    let fences = [held(&store, 0).await, held(&store, 1).await];
    let first: Vec<Value> = (0..10).map(|n| thing(n * 2)).collect();
    save(&store, &[make.batch(&fences[0], 0, &first)]).await;
    // Session 0 remembers the keys; session 1 runs into them, in the first table.
    let second: Vec<Value> = (0..20).map(thing).collect();
    let again = [make.batch(&fences[0], 10, &second[..12])];
    assert_eq!(save(&store, &again).await, [settled(6, 6, 0)]);
    let elsewhere = [make.batch(&fences[1], 0, &second)];
    let expected = [settled(3, 16, 1)]; // 13 is rejected; 15, 17 and 19 are new.
    assert_eq!(save_over(&store, 1, &elsewhere).await, expected);
    assert_eq!(database.number("select count(*) from things.parts").await, 19);
    assert_eq!(database.things().await, 19);
    database.drop().await;
}

#[actix::test]
async fn keys_saved_by_others_are_found_without_any_memory() {
    let Some(database) = database().await else { return };
    let (broker, make) = (Broker::new(1), Maker::new());
    let store = database.store("a", &broker);
    let fence = held(&store, 0).await;
    let others =
        "insert into things.things (id, amount, name) values (5, 1, 'theirs'), (7, 1, 'theirs')";
    database.client.batch_execute(others).await.unwrap();
    let things: Vec<Value> = [5, 6, 7, 6, 5, 8].into_iter().map(thing).collect();
    assert_eq!(save(&store, &[make.batch(&fence, 0, &things)]).await, [settled(2, 4, 0)]);
    assert_eq!(database.number("select count(*) from things.parts").await, 2);
    let names = database.texts("select name from things.things where name is not null").await;
    assert_eq!(names, ["theirs", "theirs"]);
    database.drop().await;
}

#[actix::test]
async fn a_repeat_of_a_refused_record_is_tried_in_its_place() {
    let Some(database) = database().await else { return };
    let (broker, make) = (Broker::new(2), Maker::new());
    let store = database.store("a", &broker);
    let fences = [held(&store, 0).await, held(&store, 1).await];
    let amount = |id: i64, amount: i64| json!({"id": id, "amount": amount, "parts": [1]});
    let group = [
        // Refused, saved, duplicate; and saved, duplicate (whatever it says).
        make.batch(&fences[0], 0, &[amount(1, -1), amount(2, 2), amount(1, 5)]),
        make.batch(&fences[0], 3, &[amount(1, 6), amount(2, -2)]),
        // All refused.
        make.batch(&fences[1], 0, &[amount(4, -1), amount(4, -2), amount(4, -3)]),
    ];
    let expected = [settled(2, 0, 1), settled(0, 2, 0), settled(0, 0, 3)];
    assert_eq!(save(&store, &group).await, expected);
    assert_eq!(database.number("select amount from things.things where id = 1").await, 5);
    assert_eq!((database.parked(0).await, database.parked(1).await), (vec![0], vec![0, 1, 2]));
    // And in a later transaction: the refused one has made nothing a duplicate.
    let later = [make.batch(&fences[1], 3, &[amount(4, 4), amount(4, 5)])];
    assert_eq!(save(&store, &later).await, [settled(1, 1, 0)]);
    database.drop().await;
}

#[actix::test]
async fn a_repeat_in_the_same_transaction_as_a_saved_key_and_a_refused_row() {
    let Some(database) = database().await else { return };
    let (broker, make) = (Broker::new(1), Maker::new());
    let store = database.store("a", &broker);
    let fence = held(&store, 0).await;
    let others = "insert into things.things (id, amount) values (3, 1)";
    database.client.batch_execute(others).await.unwrap();
    let things = [
        json!({"id": 1}),
        json!({"id": 2, "amount": -1}),
        json!({"id": 3}),
        json!({"id": 2}),
        json!({"id": 3, "name": "again"}),
        json!({"id": 4, "name": "much too long for its column"}),
    ];
    let group = [make.batch(&fence, 0, &things)];
    assert_eq!(save(&store, &group).await, [settled(2, 2, 2)]);
    assert_eq!(database.parked(0).await, [1, 5]);
    database.drop().await;
}

#[actix::test]
async fn a_record_with_several_keys_is_saved_whole_or_not_at_all() {
    let Some(database) = database().await else { return };
    let (broker, make) = (Broker::new(1), Maker::new());
    let store = database.store("a", &broker);
    let fence = held(&store, 0).await;
    let others = "insert into things.things (id, amount) values (50, 1)";
    database.client.batch_execute(others).await.unwrap();
    let things = [
        json!({"id": 1, "also": [2, 3]}),
        // One of its keys is that of the first record, another would be new.
        json!({"id": 4, "also": [3]}),
        // Waits for the one before, which turns out a duplicate: it is new.
        json!({"id": 5, "also": [4]}),
        // One of its keys is saved by somebody else.
        json!({"id": 6, "also": [50], "parts": [1]}),
        // The same key twice.
        json!({"id": 7, "also": [7]}),
        json!({"id": 8}),
    ];
    let group = [make.batch(&fence, 0, &things)];
    assert_eq!(save(&store, &group).await, [settled(3, 2, 1)]);
    let ids = "select string_agg(id::text, ' ' order by id) from things.things";
    assert_eq!(database.texts(ids).await, ["1 2 3 4 5 8 50"]);
    assert_eq!(database.number("select count(*) from things.parts").await, 0);
    assert_eq!(database.parked(0).await, [4]);
    database.drop().await;
}

#[actix::test]
async fn what_is_remembered_is_forgotten_with_a_new_epoch() {
    let Some(database) = database().await else { return };
    let (broker, make) = (Broker::new(1), Maker::new());
    let store = database.store("a", &broker);
    let fence = held(&store, 0).await;
    save(&store, &[make.batch(&fence, 0, &[thing(1)])]).await;
    // An operator goes back and removes what was derived.
    let back = "update longshore.offsets set next_offset = 0; delete from things.things; \
                delete from things.parts";
    database.client.batch_execute(back).await.unwrap();
    let answers = store.acquire(std::slice::from_ref(&fence)).await.unwrap();
    take(&fence, &answers[0]);
    assert_eq!(save(&store, &[make.batch(&fence, 0, &[thing(1)])]).await, [settled(1, 0, 0)]);
    database.drop().await;
}
