//! Every record is settled once: saved, skipped, a duplicate or parked, exactly as an independent
//! model says, with the offsets at the end of every partition.

mod support;

use support::records::{Draft, Event, Generator, Mix};
use support::stage::Stage;

#[test]
fn two_hundred_thousand_records_end_as_the_model_says() {
    let Some(stage) = Stage::set(12) else { return };
    let sent = stage.send(11, Mix::USUAL, 200_000);
    stage.service().run_until_end();
    stage.exact(&sent);
    // A second start has nothing to do and does nothing.
    stage.service().run_until_end();
    stage.exact(&sent);
}

#[test]
fn ids_that_repeat_across_partitions_are_saved_once() {
    let Some(stage) = Stage::set(6) else { return };
    let mix = Mix { duplicates: 0.05, across_partitions: 0.1, negative_costs: 0.02, ..Mix::USUAL };
    let sent = stage.send(12, mix, 30_000);
    let small_batches = stage.service().set("pipelines.ads.batch", "records", "500");
    small_batches.run_until_end();
    stage.exact(&sent);
}

#[test]
fn what_was_saved_by_an_earlier_start_is_a_duplicate_later() {
    let Some(stage) = Stage::set(2) else { return };
    let mut records = stage.generator(13, Mix::USUAL);
    let mut sent = stage.topic.send(records.records(2_000));
    stage.service().run_until_end();
    let again = sent.iter().map(|one| one.draft.clone()).collect();
    stage.send_more(&mut sent, again);
    stage.send_more(&mut sent, records.records(2_000));
    stage.service().run_until_end();
    stage.exact(&sent);
}

#[test]
fn a_repeat_of_a_refused_record_is_judged_on_its_own() {
    for batch_records in ["10000", "2", "1"] {
        let Some(stage) = Stage::set(1) else { return };
        let mut records = stage.generator(14, Mix { odd_spelling: false, ..Mix::CLEAN });
        let drafts = (0..40).flat_map(|_| refusals_and_repeats(&mut records)).collect();
        let sent = stage.topic.send(drafts);
        stage
            .service()
            .set("pipelines.ads.batch", "records", batch_records)
            .set("pipelines.ads", "dead_letter_budget", "\"off\"")
            .run_until_end();
        stage.exact(&sent);
    }
}

#[test]
fn every_kind_of_unreadable_record_is_parked_alone() {
    let Some(stage) = Stage::set(3) else { return };
    let sent = stage.send(15, Mix { malformed: 0.4, ..Mix::USUAL }, 3_000);
    stage.service().run_until_end();
    stage.exact(&sent);
}

#[test]
fn every_order_ends_the_same() {
    for order in ["by_key", "by_partition"] {
        let Some(stage) = Stage::set(3) else { return };
        let mix = Mix { duplicates: 0.05, negative_costs: 0.01, ..Mix::USUAL };
        let sent = stage.send(16, mix, 10_000);
        let order = format!("\"{order}\"");
        stage.service().set("pipelines.ads", "order", &order).run_until_end();
        stage.exact(&sent);
    }
}

#[test]
fn large_records_pass_among_small_ones() {
    let Some(stage) = Stage::set(2) else { return };
    let mut records = stage.generator(17, Mix::USUAL);
    let mut drafts = Vec::new();
    for letter in 'a'..='t' {
        drafts.extend(records.records(200));
        let user_id = letter.to_string().repeat(900_000);
        let large = Event { user_id, ..records.event() };
        drafts.push(records.record(i32::from(letter > 'j'), large));
    }
    let sent = stage.topic.send(drafts);
    stage.service().set("pipelines.ads.batch", "bytes", "\"1 MiB\"").run_until_end();
    stage.exact(&sent);
}

/// One id refused in every way and then sent right, and right ones sent again.
fn refusals_and_repeats(records: &mut Generator) -> Vec<Draft> {
    let right = records.event();
    let negative = Event { cost_micros: -5, ..right.clone() };
    let lost = Event { campaign_id: right.campaign_id + 1, ..right.clone() };
    let other = Event { event_id: right.event_id, ..records.event() };
    let healed_by_other = Event { event_id: records.event().event_id, ..records.event() };
    let refused_first = Event { cost_micros: -1, ..healed_by_other.clone() };
    vec![
        records.record(0, negative.clone()),
        records.record(0, lost),
        records.record(0, negative),
        records.record(0, right.clone()),
        records.record(0, right),
        records.record(0, other),
        records.record(0, refused_first.clone()),
        records.record(0, refused_first),
        records.record(0, healed_by_other),
    ]
}
