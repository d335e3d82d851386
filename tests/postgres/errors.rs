//! The SQLSTATE decides what becomes of an error.

use longshore_actors::error::SaveError;
use longshore_actors::ports::{SessionId, Store};
use serde_json::json;

use super::support::*;

/// Raises whatever code a thing's name says.
const RAISE: &str = "
    create function things.raise() returns trigger language plpgsql as $$ begin
        if new.name like '_____' then
            raise exception 'as told' using errcode = new.name, detail = 'because';
        end if;
        return new;
    end $$;
    create trigger raise before insert on things.things for each row
        execute function things.raise()";

#[actix::test]
async fn every_class_has_its_fate() {
    let Some(database) = database().await else { return };
    let (broker, make) = (Broker::new(1), Maker::new());
    let store = database.store("a", &broker);
    let fence = held(&store, 0).await;
    database.client.batch_execute(RAISE).await.unwrap();
    let mut next = 0;
    for (fate, codes) in [
        ("retry", &["08006", "53100", "53300", "57P03", "58030", "25006", "25P02", "55P03"][..]),
        ("at once", &["40001", "40P01"]),
        ("halve", &["57014"]),
        (
            "stop",
            &["22P03", "22P04", "42501", "42P01", "3D000", "28000", "0A000", "XX000", "ZZ999"],
        ),
        ("park", &["22000", "22P02", "23514", "23503", "44000", "P0001", "P0002", "54000"]),
    ] {
        for code in codes {
            let batch = [make.batch(&fence, next, &[json!({"id": next, "name": code})])];
            let saved = store.save(SessionId(0), &batch).await;
            match (fate, saved) {
                ("retry", Err(SaveError::Retry(message)))
                | ("at once", Err(SaveError::RetryNow(message)))
                | ("halve", Err(SaveError::TooSlow(message)))
                | ("stop", Err(SaveError::Stop(message))) => {
                    assert!(message.contains(code), "{message}");
                    assert!(message.contains("as told; detail: because"), "{message}");
                }
                ("park", Ok(_)) => {
                    next += 1;
                    let newest = "select error from longshore.parked_records order by id desc";
                    assert!(database.texts(newest).await[0].contains(code));
                }
                (_, saved) => panic!("{code} is not to {fate}: {saved:?}"),
            }
        }
    }
    assert_eq!((database.things().await, database.next_offset(0).await), (0, next));
    database.drop().await;
}

#[actix::test]
async fn a_server_that_is_read_only_is_waited_for() {
    let Some(database) = database().await else { return };
    let (broker, make) = (Broker::new(1), Maker::new());
    let fence = held(&database.store("a", &broker), 0).await;
    let read_only = "do $$ begin execute format('alter database %I set
        default_transaction_read_only = on', current_database()); end $$";
    database.client.batch_execute(read_only).await.unwrap();
    let store = database.store("a", &broker);
    let batch = [make.batch(&fence, 0, &[json!({"id": 1})])];
    let saved = store.save(SessionId(0), &batch).await;
    assert!(matches!(&saved, Err(SaveError::Retry(m)) if m.contains("25006")), "{saved:?}");
    database.drop().await;
}
