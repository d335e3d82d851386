//! Offsets without records are passed: transaction markers, aborted, compacted and deleted records
//! leave holes that no reader is told about, and the stored offsets come to the end all the same.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use support::producers::Sender;
use support::records::{Draft, Generator, Mix, Sent};
use support::stage::Stage;
use support::wait;

/// A topic that the broker compacts as soon as it can.
const COMPACTED: [(&str, &str); 5] = [
    ("cleanup.policy", "compact"),
    ("min.cleanable.dirty.ratio", "0.001"),
    ("min.compaction.lag.ms", "0"),
    ("delete.retention.ms", "0"),
    ("segment.ms", "1000"),
];

#[test]
fn committed_and_aborted_transactions_interleave() {
    let Some(stage) = Stage::set(3) else { return };
    let mut records = stage.generator(21, Mix::USUAL);
    let [kept, dropped] = ["kept", "dropped"].map(|id| Sender::transactional(&stage.topic, id));
    let mut sent = Vec::new();
    for _ in 0..12 {
        dropped.begin();
        dropped.send(records.records(70));
        kept.begin();
        sent.extend(kept.send(records.records(150)));
        dropped.send(records.records(30));
        kept.commit();
        dropped.abort();
    }
    let of_read = stage.topic.read_all().values().map(Vec::len).sum::<usize>();
    assert_eq!(of_read, sent.len(), "only what was committed is read");
    stage.service().run_until_end();
    // The generator may repeat what was aborted: that repeat is no duplicate.
    stage.exact(&sent);
}

#[test]
fn a_topic_with_nothing_but_aborted_records_is_passed() {
    let Some(stage) = Stage::set(2) else { return };
    let mut records = stage.generator(22, Mix::CLEAN);
    abort(&stage, &mut records, 500);
    stage.service().run_until_end();
    stage.exact(&[]);
    // Once more, now from a stored offset.
    abort(&stage, &mut records, 500);
    stage.service().run_until_end();
    stage.exact(&[]);
}

#[test]
fn a_running_service_passes_an_aborted_tail_and_reads_what_comes_behind_it() {
    let Some(stage) = Stage::set(2) else { return };
    let mut records = stage.generator(23, Mix::USUAL);
    let mut sent = stage.topic.send(records.records(400));
    let mut service = stage.service().start(&["run"]);
    stage.await_end(&mut service);
    for _ in 0..5 {
        abort(&stage, &mut records, 40);
        stage.await_end(&mut service);
        stage.send_more(&mut sent, records.records(2));
        stage.await_end(&mut service);
    }
    service.terminate().expect_code(0);
    stage.exact(&sent);
}

#[test]
fn an_open_transaction_is_the_end_until_it_is_committed() {
    let Some(stage) = Stage::set(1) else { return };
    let mut records = stage.generator(24, Mix::USUAL);
    let mut sent = stage.topic.send(records.records(300));
    let sender = Sender::transactional(&stage.topic, "open");
    sender.begin();
    let open = sender.send(records.records(100));
    stage.service().run_until_end();
    stage.exact(&sent);
    sender.commit();
    sent.extend(open);
    stage.service().run_until_end();
    stage.exact(&sent);
}

#[test]
fn a_compacted_topic_is_read_over_its_holes_and_its_missing_tail() {
    let Some(stage) = Stage::with_topic(2, &COMPACTED) else { return };
    let mut records = stage.generator(25, Mix { tombstones: 0.0, ..Mix::USUAL });
    let mut drafts = records.records(4_000);
    drafts.iter_mut().for_each(with_key);
    let tail = tombstones_of_every_other_key(&mut records, &drafts);
    let mut sent = stage.topic.send(drafts);
    stage.send_more(&mut sent, tail);
    let left = left_by_compaction(&sent);
    wait::until("the broker has compacted the topic, its tail too", || {
        // Only older segments are compacted: what is aborted here begins a new one.
        abort(&stage, &mut records, 2);
        stage.topic.read_all().values().map(Vec::len).sum::<usize>() == left.len()
    });
    stage.service().run_until_end();
    stage.exact(&left);
}

#[test]
fn a_partition_whose_records_were_all_deleted_begins_at_its_end() {
    let Some(stage) = Stage::set(2) else { return };
    let mut records = stage.generator(26, Mix::USUAL);
    let mut sent = stage.topic.send(records.records(200));
    let end = stage.topic.ends()[&1];
    stage.topic.delete_before(1, end);
    sent.retain(|one| one.draft.partition != 1);
    stage.service().run_until_end();
    stage.exact(&sent);
    stage.send_more(&mut sent, records.records(100));
    stage.service().run_until_end();
    stage.exact(&sent);
}

/// Sends records in a transaction that is aborted.
fn abort(stage: &Stage, records: &mut Generator, count: usize) {
    let sender = Sender::transactional(&stage.topic, "aborted");
    let mut drafts = records.records(count);
    drafts.iter_mut().for_each(with_key);
    sender.begin();
    sender.send(drafts);
    sender.abort();
}

/// A compacted topic takes no record without a key.
fn with_key(draft: &mut Draft) {
    draft.key.get_or_insert_with(|| b"none".to_vec());
}

/// Tombstones, which are compacted away themselves: a tail of offsets without records.
fn tombstones_of_every_other_key(records: &mut Generator, drafts: &[Draft]) -> Vec<Draft> {
    let keys = drafts.iter().map(|draft| (draft.partition, draft.key.clone()));
    let keys = keys.collect::<BTreeSet<_>>();
    let every_other = keys.into_iter().step_by(2);
    every_other.map(|(partition, key)| Draft { key, ..records.tombstone(partition) }).collect()
}

/// The last record of each key, unless it is a tombstone.
fn left_by_compaction(sent: &[Sent]) -> Vec<Sent> {
    let last = |one: &Sent| (one.draft.partition, one.draft.key.clone());
    let last = sent.iter().map(|one| (last(one), one)).collect::<BTreeMap<_, _>>();
    last.into_values().filter(|one| one.draft.value.is_some()).cloned().collect()
}
