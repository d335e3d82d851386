//! A COMMIT whose answer never comes: only a reacquire tells what became of it.

use longshore_actors::error::SaveError;
use longshore_actors::ports::{Acquired, Holding, SessionId, Store};
use longshore_actors::record::NextOffset;
use serde_json::json;

use super::support::*;

/// What a reacquire says of a partition that is still ours.
fn held_again(next_offset: i64) -> Acquired {
    let (epoch, next_offset) = (2, NextOffset(next_offset));
    Acquired::Held(Holding { epoch, next_offset, ..Holding::default() })
}

/// Makes a COMMIT of slow things take until it is cancelled, and go through all the same. A server
/// that notices meanwhile that its client is gone would roll back, and rightly: it is not to look.
const SLOW_COMMIT: &str = "
    create function things.wait() returns trigger language plpgsql as $$ begin
        set local client_connection_check_interval = 0;
        perform pg_sleep(60);
        return null;
    exception when query_canceled then
        return null;
    end $$;
    create constraint trigger wait after insert on things.things deferrable initially deferred
        for each row when (new.name = 'slow') execute function things.wait()";

const SLEEPING: &str = "select count(*) from pg_stat_activity
    where wait_event = 'PgSleep' and query = 'commit' and datname = current_database()";

#[actix::test]
async fn a_lost_answer_to_a_commit_that_went_through() {
    let Some(database) = database().await else { return };
    let (broker, make) = (Broker::new(1), Maker::new());
    let store = database.store("a", &broker);
    let fence = held(&store, 0).await;
    database.client.batch_execute(SLOW_COMMIT).await.unwrap();
    let batch = [make.batch(&fence, 0, &[json!({"id": 1, "name": "slow"}), json!({"id": 2})])];
    let losing = async {
        while database.number(SLEEPING).await == 0 {}
        store.abort(SessionId(0));
    };
    let saving = store.save(SessionId(0), &batch);
    let (saved, ()) = futures_util::future::join(saving, losing).await;
    match saved {
        Err(SaveError::Unknown { settled: sums, .. }) => {
            assert_eq!(sums, [Some(settled(2, 0, 0))]);
        }
        other => panic!("{other:?}"),
    }
    // The server goes on by itself: whoever asks waits for it.
    let again = store.reacquire(&fence).await.unwrap();
    assert_eq!(again, held_again(2));
    assert_eq!(database.things().await, 2);
    database.drop().await;
}

#[actix::test]
async fn a_lost_answer_to_a_commit_that_did_not() {
    let Some(database) = database().await else { return };
    let (broker, make) = (Broker::new(2), Maker::new());
    let store = database.store("a", &broker);
    let fences = [held(&store, 0).await, held(&store, 1).await];
    database.client.batch_execute(SLOW_COMMIT).await.unwrap();
    let group = [
        make.batch(&fences[0], 0, &[json!({"id": 1, "name": "slow"})]),
        make.batch(&fences[1], 0, &[json!({"id": 1}), json!({"id": 13})]),
    ];
    let killing = async {
        while database.number(SLEEPING).await == 0 {}
        let kill = "select pg_terminate_backend(pid) from pg_stat_activity
            where wait_event = 'PgSleep' and datname = current_database()";
        database.client.query(kill, &[]).await.unwrap();
    };
    let saving = store.save(SessionId(0), &group);
    let (saved, ()) = futures_util::future::join(saving, killing).await;
    match saved {
        Err(SaveError::Unknown { message, settled: sums }) => {
            assert!(message.contains("57P01"), "{message}");
            assert_eq!(sums, [Some(settled(1, 0, 0)), Some(settled(0, 1, 1))]);
        }
        other => panic!("{other:?}"),
    }
    for fence in &fences {
        let again = store.reacquire(fence).await.unwrap();
        assert_eq!(again, held_again(0));
        take(fence, &again);
    }
    let group = [make.batch(&fences[1], 0, &[json!({"id": 1}), json!({"id": 13})])];
    assert_eq!(save(&store, &group).await, [settled(1, 0, 1)]);
    database.drop().await;
}

#[actix::test]
async fn a_server_that_goes_away_in_between_is_a_certain_rollback() {
    let Some(database) = database().await else { return };
    let (broker, make) = (Broker::new(1), Maker::new());
    let store = database.store("a", &broker);
    let fence = held(&store, 0).await;
    save(&store, &[make.batch(&fence, 0, &[json!({"id": 1})])]).await;
    let kill = "select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid()";
    database.client.query(kill, &[]).await.unwrap();
    let batch = [make.batch(&fence, 1, &[json!({"id": 1}), json!({"id": 2})])];
    // The pool may notice by itself, or the first statement does.
    let sums = match store.save(SessionId(0), &batch).await {
        Err(SaveError::Retry(_)) => save(&store, &batch).await,
        Ok(_) => return database.drop().await,
        other => panic!("{other:?}"),
    };
    assert_eq!(sums, [settled(1, 1, 0)]);
    assert_eq!(database.things().await, 2);
    database.drop().await;
}
