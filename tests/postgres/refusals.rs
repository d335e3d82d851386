//! One bad row costs one record: exactly those that the database refuses are parked.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

use super::support::*;

/// Makes `n` things, those of `bad` with what `spoil` does to them.
fn spoilt(n: i64, bad: &[i64], spoil: impl Fn(&mut Value)) -> Vec<Value> {
    (0..n)
        .map(|offset| {
            let mut thing = json!({"id": 1000 + (offset * 7919) % 10007, "parts": [offset % 900]});
            if bad.contains(&offset) {
                spoil(&mut thing);
            }
            thing
        })
        .collect()
}

/// Saves `n` things of which the `bad` are refused for `reason`; checks that exactly those are.
async fn check(database: &Database, n: i64, bad: &[i64], reason: &str, spoil: impl Fn(&mut Value)) {
    let clean = "truncate things.things, things.parts, longshore.offsets, longshore.parked_records";
    database.client.batch_execute(clean).await.unwrap();
    let (broker, make) = (Broker::new(1), Maker::new());
    let store = database.store("a", &broker);
    let fence = held(&store, 0).await;
    let group = [make.batch(&fence, 0, &spoilt(n, bad, spoil))];
    let expected = settled((n as usize - bad.len()) as u64, 0, bad.len() as u64);
    assert_eq!(save(&store, &group).await, [expected]);
    assert_eq!(database.parked(0).await, bad);
    let saved = n - bad.len() as i64;
    assert_eq!(database.things().await, saved);
    assert_eq!(database.number("select count(*) from things.parts").await, saved);
    let reasons = database.texts("select distinct reason from longshore.parked_records").await;
    assert_eq!(reasons, [reason]);
    assert_eq!(database.next_offset(0).await, n);
}

fn negative(thing: &mut Value) {
    thing["amount"] = json!(-1);
}

#[actix::test]
async fn a_violated_check_parks_first_middle_last_and_many() {
    let Some(database) = database().await else { return };
    let reason = "things_amount_check";
    for bad in [&[0][..], &[499], &[999], &[0, 999], &[3, 4, 5, 500, 998]] {
        check(&database, 1000, bad, reason, negative).await;
    }
    let many: Vec<i64> = (0..300).map(|n| n * 3).collect();
    check(&database, 1000, &many, reason, negative).await;
    let all: Vec<i64> = (0..200).collect();
    check(&database, 200, &all, reason, negative).await;
    check(&database, 1, &[0], reason, negative).await;
    let error = database.texts("select error from longshore.parked_records").await;
    assert!(error[0].contains("23514"), "{error:?}");
    assert!(error[0].contains("things.things"), "{error:?}");
    database.drop().await;
}

#[actix::test]
async fn a_row_of_another_table_takes_the_whole_record_along() {
    let Some(database) = database().await else { return };
    let heavy = |thing: &mut Value| thing["parts"] = json!([1, 2000, 3]);
    for bad in [&[0][..], &[250, 251], &[499]] {
        check(&database, 500, bad, "not_heavy", heavy).await;
    }
    database.drop().await;
}

#[actix::test]
async fn other_refusals_have_a_reason_of_their_own() {
    let Some(database) = database().await else { return };
    let long = |thing: &mut Value| thing["name"] = json!("a name of more than twenty letters");
    check(&database, 100, &[50], "too long", long).await;
    let not_null = "alter table things.things alter name set not null";
    let name = |thing: &mut Value| thing["name"] = Value::Null;
    database
        .client
        .batch_execute("alter table things.things alter name set default 'x'")
        .await
        .unwrap();
    database.client.batch_execute("truncate things.things").await.unwrap();
    database.client.batch_execute(not_null).await.unwrap();
    let (broker, make) = (Broker::new(1), Maker::new());
    let store = database.store("a", &broker);
    let fence = held(&store, 0).await;
    let next = database.next_offset(0).await;
    let mut things = [json!({"id": 1, "name": "a"}), json!({"id": 2, "name": "b"})];
    name(&mut things[1]);
    let group = [make.batch(&fence, next, &things)];
    assert_eq!(save(&store, &group).await, [settled(1, 0, 1)]);
    let sql = "select reason from longshore.parked_records order by id desc limit 1";
    assert_eq!(database.texts(sql).await, ["null in name"]);
    database.drop().await;
}

#[actix::test]
async fn foreign_keys_immediate_and_deferred_park_exactly_the_orphans() {
    let Some(database) = database().await else { return };
    let orphan = |thing: &mut Value| thing["parent"] = json!(999);
    for how in ["not deferrable", "deferrable initially deferred"] {
        let key = format!(
            "alter table things.things drop constraint if exists has_parent, add constraint \
             has_parent foreign key (parent) references things.parents {how}"
        );
        database.client.batch_execute("truncate things.things").await.unwrap();
        database.client.batch_execute(&key).await.unwrap();
        for bad in [&[0][..], &[63], &[499], &[7, 8, 300]] {
            check(&database, 500, bad, "has_parent", orphan).await;
        }
    }
    database.drop().await;
}

#[actix::test]
async fn a_trigger_s_refusal_parks_exactly_its_record() {
    let Some(database) = database().await else { return };
    let trigger = "create function things.refuse() returns trigger language plpgsql as $$ begin \
        if new.name = 'refused' then raise exception 'not this one: %', new.id; end if; \
        return new; end $$; \
        create trigger refuse WHEN before insert on things.things for each row \
        execute function things.refuse()";
    let refused = |thing: &mut Value| thing["name"] = json!("refused");
    let before = trigger.replace("WHEN ", "");
    database.client.batch_execute(&before).await.unwrap();
    check(&database, 300, &[120, 299], "refused by a trigger", refused).await;
    let after = "drop trigger refuse on things.things; create trigger refuse after insert on \
        things.things for each row execute function things.refuse()";
    database.client.batch_execute(after).await.unwrap();
    check(&database, 300, &[0, 120], "refused by a trigger", refused).await;
    let deferred = "drop trigger refuse on things.things; create constraint trigger refuse after \
        insert on things.things deferrable initially deferred for each row execute function \
        things.refuse()";
    database.client.batch_execute(deferred).await.unwrap();
    check(&database, 300, &[150], "refused by a trigger", refused).await;
    database.drop().await;
}

#[actix::test]
async fn a_second_unique_key_refuses_it_does_not_make_a_duplicate() {
    let Some(database) = database().await else { return };
    let unique = "alter table things.things add constraint one_name unique (name)";
    database.client.batch_execute(unique).await.unwrap();
    let (broker, make) = (Broker::new(1), Maker::new());
    let store = database.store("a", &broker);
    let fence = held(&store, 0).await;
    let things = [
        json!({"id": 1, "name": "a"}),
        json!({"id": 2, "name": "b"}),
        json!({"id": 3, "name": "a"}),
        json!({"id": 1, "name": "c"}),
    ];
    assert_eq!(save(&store, &[make.batch(&fence, 0, &things)]).await, [settled(2, 1, 1)]);
    assert_eq!(database.parked(0).await, [2]);
    database.drop().await;
}

#[actix::test]
async fn one_bad_row_among_many_costs_few_tries() {
    let Some(database) = database().await else { return };
    // A sequence keeps its number when a savepoint is rolled back: it counts every try.
    let counting = "alter table things.things add constraint has_parent foreign key (parent)
            references things.parents;
        create sequence things.tries;
        create function things.count() returns trigger language plpgsql as
            $$ begin perform nextval('things.tries'); return null; end $$;
        create trigger count before insert on things.things for each statement
            execute function things.count()";
    database.client.batch_execute(counting).await.unwrap();
    let orphan = |thing: &mut Value| thing["parent"] = json!(999);
    let n = 1000_i64;
    for bad in [0, 333, 700, 999] {
        // The first attempt, what stands before, the bad one alone, the rest.
        check(&database, n, &[bad], "things_amount_check", negative).await;
        let tries = database.number("select nextval('things.tries') - 1").await;
        assert!(tries <= 4, "{tries} tries with a line");
        database.client.batch_execute("alter sequence things.tries restart").await.unwrap();
        check(&database, n, &[bad], "has_parent", orphan).await;
        let tries = database.number("select nextval('things.tries') - 1").await;
        println!("{tries} tries without a line");
        assert!(tries <= i64::from(n.ilog2()) + 5, "{tries} tries without a line");
        database.client.batch_execute("alter sequence things.tries restart").await.unwrap();
    }
    database.drop().await;
}

#[actix::test]
async fn exactly_the_bad_ones_are_parked_whatever_is_bad() {
    let Some(database) = database().await else { return };
    let key = "alter table things.things add constraint has_parent foreign key (parent) \
               references things.parents deferrable initially deferred";
    database.client.batch_execute(key).await.unwrap();
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    // Id, and what is wrong: nothing (0 to 4), its amount, its part, its parent, its name.
    let strategy = prop::collection::vec((1000_i64..1060, 0_u8..9), 1..90);
    let make = Maker::new();
    for round in 0..25 {
        let records = strategy.new_tree(&mut runner).unwrap().current();
        let clean =
            "truncate things.things, things.parts, longshore.offsets, longshore.parked_records";
        database.client.batch_execute(clean).await.unwrap();
        let theirs = "insert into things.things (id, amount) values (1001, 1), (1017, 1)";
        database.client.batch_execute(theirs).await.unwrap();
        let broker = Broker::new(1);
        let store = database.store("a", &broker);
        let fence = held(&store, 0).await;
        let thing = |(id, wrong): &(i64, u8)| match wrong {
            5 => json!({"id": id, "amount": -1, "parts": [1]}),
            6 => json!({"id": id, "parts": [1, 5000]}),
            7 => json!({"id": id, "parent": 999}),
            8 => json!({"id": id, "name": "a name of more than twenty letters"}),
            _ => json!({"id": id, "parent": 5, "parts": [1, 2]}),
        };
        let things: Vec<Value> = records.iter().map(thing).collect();
        let half = things.len() / 2;
        let group = [
            make.batch(&fence, 0, &things[..half]),
            make.batch(&fence, half as i64, &things[half..]),
        ];
        let sums = save(&store, &group).await;
        // What must come out. A row that breaks a rule of its own and repeats a saved key may be
        // either: refused or a duplicate. Neither saves it.
        let (mut saved, mut parked) = (BTreeSet::from([1001, 1017]), Vec::new());
        for (offset, (id, wrong)) in (0_i64..).zip(&records) {
            if saved.contains(id) {
                continue;
            }
            if *wrong >= 5 {
                parked.push(offset);
            } else {
                saved.insert(*id);
            }
        }
        let ids: Vec<i64> = database
            .client
            .query("select id from things.things order by id", &[])
            .await
            .unwrap()
            .iter()
            .map(|row| row.get(0))
            .collect();
        assert_eq!(ids, saved.into_iter().collect::<Vec<_>>(), "round {round}: {records:?}");
        let found = database.parked(0).await;
        assert!(parked.iter().all(|offset| found.contains(offset)), "round {round}: {records:?}");
        let may = |offset: &i64| records[*offset as usize].1 >= 5;
        assert!(found.iter().all(may), "round {round}: {found:?} of {records:?}");
        let sum = sums.iter().map(|s| s.total()).sum::<u64>();
        assert_eq!(sum, records.len() as u64);
        assert_eq!(sums.iter().map(|s| s.parked).sum::<u64>(), found.len() as u64);
        assert_eq!(sums.iter().map(|s| s.saved).sum::<u64>() + 2, ids.len() as u64);
    }
    database.drop().await;
}
