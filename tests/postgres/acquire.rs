//! Taking partitions over.

use std::sync::Arc;

use longshore::positions::StartPosition;
use longshore_actors::ports::{Acquired, Holding, Seen, Store, Stored};
use longshore_actors::record::NextOffset;
use uuid::Uuid;

use super::support::*;

fn held_at(epoch: i64, next_offset: i64) -> Acquired {
    let next_offset = NextOffset(next_offset);
    Acquired::Held(Holding { epoch, next_offset, ..Holding::default() })
}

fn moved_to(epoch: i64, next_offset: i64) -> Acquired {
    let next_offset = NextOffset(next_offset);
    Acquired::Moved(Holding { epoch, next_offset, ..Holding::default() })
}

/// A row of which nothing is due.
fn seen(row: Stored) -> Seen {
    Seen { row, is_due: false, halt: None }
}

fn refusal(answer: &Acquired) -> &str {
    let Acquired::Refused { reason } = answer else { panic!("not refused: {answer:?}") };
    reason
}

#[actix::test]
async fn the_first_acquire_settles_the_start_of_all_partitions() {
    let Some(database) = database().await else { return };
    let broker = Broker::new(3);
    broker.change(|topic| {
        for (partition, (earliest, end, committed)) in
            topic.partitions.iter_mut().zip([(5, 50, None), (6, 60, Some(30)), (7, 70, None)])
        {
            partition.earliest = NextOffset(earliest);
            partition.end = NextOffset(end);
            partition.committed = committed.map(NextOffset);
        }
    });
    let latest = database.store_with("a", &broker, StartPosition::Latest);
    assert_eq!(latest.acquire(&[fence(1)]).await.unwrap(), [held_at(1, 60)]);
    let all = [database.next_offset(0).await, database.next_offset(2).await];
    assert_eq!(all, [50, 70]);
    // A partition that is added later begins at its earliest, whatever the start.
    broker.change(|topic| {
        let mut added = topic.partitions[0];
        (added.index, added.end) = (3, NextOffset(9));
        topic.partitions.push(added);
    });
    let answers = latest.acquire(&[fence(3), fence(0)]).await.unwrap();
    assert_eq!(answers, [held_at(1, 5), held_at(1, 50)]);
    database.client.batch_execute("delete from longshore.offsets").await.unwrap();
    let committed = database.store_with("a", &broker, StartPosition::Committed);
    let answers = committed.acquire(&[fence(0), fence(1)]).await.unwrap();
    assert_eq!(answers, [held_at(1, 5), held_at(1, 30)]);
    database.drop().await;
}

#[actix::test]
async fn each_acquire_bumps_the_epoch_and_only_the_owner_reacquires() {
    let Some(database) = database().await else { return };
    let broker = Broker::new(1);
    let (a, b) = (database.store("a", &broker), database.store("b", &broker));
    let of_a = held(&a, 0).await;
    let again = a.reacquire(&of_a).await.unwrap();
    assert_eq!(again, held_at(2, 0));
    // An answer that was lost: our own epoch is newer than we know.
    let unheard = moved_to(3, 0);
    assert_eq!(a.reacquire(&of_a).await.unwrap(), unheard);
    let of_b = held(&b, 0).await;
    let fenced = Acquired::Fenced { owner: Some("b".to_owned()) };
    assert_eq!(a.reacquire(&of_a).await.unwrap(), fenced);
    let moved = "update longshore.offsets set epoch = epoch + 1, owner = null, next_offset = 77";
    database.client.batch_execute(moved).await.unwrap();
    let fences = std::slice::from_ref(&of_b);
    assert_eq!(b.look(fences).await.unwrap(), [seen(Stored::Moved)]);
    let followed = moved_to(6, 77);
    assert_eq!(b.reacquire(&of_b).await.unwrap(), followed);
    of_b.hold(6, NextOffset(77));
    assert_eq!(b.look(fences).await.unwrap(), [seen(Stored::AsLeft)]);
    let taken = seen(Stored::Taken { owner: "b".to_owned() });
    assert_eq!(a.look(std::slice::from_ref(&of_a)).await.unwrap(), [taken]);
    of_b.fall();
    assert_eq!(b.reacquire(&of_b).await.unwrap(), Acquired::Fallen);
    assert_eq!(b.acquire(std::slice::from_ref(&of_b)).await.unwrap(), [Acquired::Fallen]);
    assert_eq!(database.number("select epoch from longshore.offsets").await, 6);
    database.client.batch_execute("delete from longshore.offsets").await.unwrap();
    let gone = fence(0);
    gone.hold(1, NextOffset(0));
    assert!(refusal(&b.reacquire(&gone).await.unwrap()).contains("offsets set"));
    database.drop().await;
}

#[actix::test]
async fn racing_owners_get_different_epochs() {
    let Some(database) = database().await else { return };
    let broker = Broker::new(8);
    let stores: Vec<_> = (0..5).map(|n| database.store(&format!("owner-{n}"), &broker)).collect();
    let fences: Vec<Vec<_>> =
        (0..5).map(|n| (0..8).map(|p| fence((p * 3 + n) % 8)).collect()).collect();
    let races = stores.iter().zip(&fences).map(|(store, fences)| store.acquire(fences));
    let mut epochs = Vec::new();
    for (answers, fences) in futures_util::future::join_all(races).await.into_iter().zip(&fences) {
        for (answer, fence) in answers.unwrap().into_iter().zip(fences) {
            let Acquired::Held(Holding { epoch, .. }) = answer else { panic!("{answer:?}") };
            epochs.push((fence.partition().index, epoch));
        }
    }
    epochs.sort_unstable();
    let expected: Vec<_> = (0..8).flat_map(|p| (1..=5).map(move |epoch| (p, epoch))).collect();
    assert_eq!(epochs, expected);
    database.drop().await;
}

#[actix::test]
async fn a_topic_made_anew_or_of_another_cluster_is_refused_and_nothing_is_changed() {
    let Some(database) = database().await else { return };
    let broker = Broker::new(2);
    let store = database.store("a", &broker);
    held(&store, 0).await;
    broker.change(|topic| {
        topic.topic_id = Some(Uuid::from_u128(2));
        let mut added = topic.partitions[0];
        added.index = 2;
        topic.partitions.push(added);
    });
    let before = database.texts("select o::text from longshore.offsets o order by 1").await;
    let answers = store.acquire(&[fence(0), fence(2)]).await.unwrap();
    for answer in &answers {
        let reason = refusal(answer);
        assert!(reason.contains("made anew"), "{reason}");
        assert!(reason.contains("`longshore offsets set things --topic things"));
        assert!(reason.contains("another group name"), "{reason}");
    }
    broker.change(|topic| (topic.topic_id, topic.cluster_id) = (None, "cluster-2".to_owned()));
    let answers = store.acquire(&[fence(0)]).await.unwrap();
    assert!(refusal(&answers[0]).contains("cluster-2"));
    let after = database.texts("select o::text from longshore.offsets o order by 1").await;
    assert_eq!(before, after);
    // After `offsets set`, which takes the ids out, they are filled in.
    let set = "update longshore.offsets set topic_id = null, cluster_id = null, owner = null";
    database.client.batch_execute(set).await.unwrap();
    broker.change(|topic| topic.topic_id = Some(Uuid::from_u128(2)));
    assert_eq!(store.acquire(&[fence(0)]).await.unwrap(), [held_at(2, 0)]);
    let ids = "select cluster_id || ' ' || topic_id from longshore.offsets where partition = 0";
    let expected = format!("cluster-2 {}", Uuid::from_u128(2));
    assert_eq!(database.texts(ids).await, [expected]);
    database.drop().await;
}

#[actix::test]
async fn a_partition_that_somebody_holds_does_not_hold_up_the_others() {
    let Some(database) = database().await else { return };
    let broker = Broker::new(3);
    let store = Arc::new(database.store("a", &broker));
    held(&store, 1).await;
    let mut other = connect(&database.options).await;
    let lock = other.transaction().await.unwrap();
    let hold = "select from longshore.offsets where partition = 1 for update";
    lock.batch_execute(hold).await.unwrap();
    let answers = store.acquire(&[fence(0), fence(1), fence(2)]).await.unwrap();
    assert_eq!((&answers[0], &answers[2]), (&held_at(1, 0), &held_at(1, 0)));
    let Acquired::Busy { reason } = &answers[1] else { panic!("{answers:?}") };
    assert!(reason.contains("55P03"), "{reason}");
    lock.rollback().await.unwrap();
    assert_eq!(store.acquire(&[fence(1)]).await.unwrap(), [held_at(2, 0)]);
    database.drop().await;
}

#[actix::test]
async fn a_partition_that_the_broker_does_not_know_yet_is_asked_for_again() {
    let Some(database) = database().await else { return };
    let store = database.store("a", &Broker::new(1));
    let answers = store.acquire(&[fence(0), fence(5)]).await.unwrap();
    assert_eq!(answers[0], held_at(1, 0));
    assert!(matches!(answers[1], Acquired::Busy { .. }), "{answers:?}");
    database.drop().await;
}
