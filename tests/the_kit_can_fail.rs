//! A model that finds fault with nothing proves nothing: here the kit is held against real servers
//! and against wrong databases, without the service.

mod support;

use std::collections::BTreeMap;

use support::expect::{Source, differences};
use support::model::{Enriched, Model};
use support::producers::Sender;
use support::records::{Mix, Sent};
use support::stage::Stage;
use uuid::Uuid;

/// The tables that the kit looks at, as far as it does.
const TABLES: &str = "
    create schema ads;
    create schema longshore;
    create table ads.enriched_events (event_id uuid primary key, kind text not null,
      occurred_at timestamptz not null, advertiser_id bigint not null,
      advertiser_name text not null, campaign_id bigint not null, campaign_name text not null,
      user_id text not null, placement text, cost_micros bigint not null,
      currency char(3) not null, billable boolean not null);
    create table longshore.offsets (\"group\" text, topic text, partition int, next_offset bigint);
    create table longshore.parked_records (pipeline text, \"group\" text, topic text, partition int,
      \"offset\" bigint, key bytea, value bytea, state text, reason text, error text,
      \"timestamp\" timestamptz, headers jsonb);";

#[test]
fn what_a_plain_consumer_reads_is_what_was_sent() {
    let Some(stage) = Stage::empty(3, &[]) else { return };
    let sent = stage.send(1, Mix::USUAL, 30_000);
    let found = stage.topic.read_all();
    assert_eq!(found.values().map(Vec::len).sum::<usize>(), sent.len());
    let mut next = BTreeMap::<i32, usize>::new();
    for one in &sent {
        let place = next.entry(one.draft.partition).or_default();
        let read = &found[&one.draft.partition][*place];
        assert_eq!((read.offset, &read.key), (one.offset, &one.draft.key));
        assert_eq!(read.value, one.draft.value);
        *place += 1;
    }
    assert_eq!(stage.topic.ends().values().sum::<i64>(), 30_000);
}

#[test]
fn aborted_records_are_not_read_and_markers_take_offsets() {
    let Some(stage) = Stage::empty(1, &[]) else { return };
    let mut records = stage.generator(2, Mix::CLEAN);
    let sender = Sender::transactional(&stage.topic, "one");
    sender.begin();
    sender.send(records.records(10));
    sender.abort();
    sender.begin();
    let sent = sender.send(records.records(5));
    assert_eq!(stage.topic.ends()[&0], 11, "an open transaction is not stable");
    sender.commit();
    assert_eq!(sent[0].offset, 11, "ten aborted records and a marker before it");
    let found = stage.topic.read_all();
    assert_eq!(found[&0].iter().map(|one| one.offset).collect::<Vec<_>>(), [11, 12, 13, 14, 15]);
    assert_eq!(stage.topic.ends()[&0], 17, "five committed records and a marker behind them");
}

#[test]
fn the_generator_keeps_the_shares_and_repeats_itself_by_its_seed() {
    let Some(stage) = Stage::empty(4, &[]) else { return };
    let drafts = stage.generator(7, Mix::USUAL).records(100_000);
    let again = stage.generator(7, Mix::USUAL).records(100_000);
    assert!(drafts.iter().zip(&again).all(|(one, other)| one.value == other.value));
    let sent = numbered(drafts);
    let model = Model::of(&stage.reference, &sent);
    let refused = model.parked.len();
    let duplicates = sent.len() - model.rows.len() - refused - model.tombstones;
    assert!((300..500).contains(&refused), "{refused} refused");
    assert!((400..600).contains(&duplicates), "{duplicates} duplicates");
    assert!((60..140).contains(&model.tombstones), "{} tombstones", model.tombstones);
}

#[test]
fn a_right_database_passes_and_every_wrong_one_is_noticed() {
    let Some(stage) = Stage::empty(2, &[]) else { return };
    stage.database.run(TABLES);
    let mix = Mix { malformed: 0.02, negative_costs: 0.02, ..Mix::USUAL };
    let sent = stage.send(3, mix, 2_000);
    let model = Model::of(&stage.reference, &sent);
    settle(&stage, &model);
    let ends = stage.topic.ends();
    let source = Source { group: &stage.group, topic: &stage.topic.name, ends: &ends };
    let found = differences(&stage.database, source, &model);
    assert!(found.is_empty(), "{found:?}");
    for wrong in [
        "delete from ads.enriched_events where event_id = (select min(event_id::text)::uuid
           from ads.enriched_events)",
        "update ads.enriched_events set event_id = '00000000-0000-0000-0000-000000000000'
         where event_id = (select min(event_id::text)::uuid from ads.enriched_events)",
        "update ads.enriched_events set billable = not billable",
        "update ads.enriched_events set occurred_at = occurred_at + interval '1 microsecond'",
        "update ads.enriched_events set placement = '' where placement is null",
        "update ads.enriched_events set campaign_name = trim(campaign_name)",
        "update ads.enriched_events set currency = 'AAA'",
        "delete from longshore.parked_records where \"offset\" = (select min(\"offset\")
           from longshore.parked_records)",
        "update longshore.parked_records set state = 'retrying'",
        "update longshore.parked_records set value = value || '\\x20'::bytea",
        "update longshore.parked_records set reason = '', error = ''",
        "update longshore.parked_records set \"offset\" = -\"offset\" - 1",
        "update longshore.parked_records
         set headers = headers - 0 where jsonb_array_length(headers) > 0",
        "update longshore.parked_records set \"timestamp\" = now()",
        "update longshore.offsets set next_offset = next_offset - 1",
        "update longshore.offsets set next_offset = next_offset + 1 where partition = 1",
        "insert into longshore.offsets select * from longshore.offsets",
        "delete from longshore.offsets where partition = 0",
    ] {
        stage.database.run("begin");
        stage.database.run(wrong);
        let found = differences(&stage.database, source, &model);
        assert!(!found.is_empty(), "not noticed: {wrong}");
        stage.database.run("rollback");
    }
}

fn numbered(drafts: Vec<support::records::Draft>) -> Vec<Sent> {
    let mut next = BTreeMap::<i32, i64>::new();
    let mut number = |partition| {
        let next = next.entry(partition).or_default();
        std::mem::replace(next, *next + 1)
    };
    let sent = |draft: support::records::Draft| Sent { offset: number(draft.partition), draft };
    drafts.into_iter().map(sent).collect()
}

/// Writes what the service should have written.
fn settle(stage: &Stage, model: &Model) {
    for (id, candidates) in &model.rows {
        insert(stage, *id, &candidates[0]);
    }
    for ((partition, offset), parked) in &model.parked {
        stage.database.query(
            "insert into longshore.parked_records
             values ('ads', $1, $2, $3, $4, $5, $6, 'dead', 'refused', $7,
               'epoch'::timestamptz + $8::bigint * interval '1 millisecond',
               (select coalesce(jsonb_agg(jsonb_build_object('name', name, 'base64',
                  encode(value, 'base64')) order by nth), '[]')
                from unnest($9::text[], $10::bytea[]) with ordinality as t(name, value, nth)))",
            &[
                &stage.group,
                &stage.topic.name,
                partition,
                offset,
                &parked.key,
                &parked.value,
                &parked.word,
                &parked.timestamp_ms,
                &parked.headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
                &parked.headers.iter().map(|(_, value)| value.as_deref()).collect::<Vec<_>>(),
            ],
        );
    }
    for (partition, end) in stage.topic.ends() {
        stage.database.query(
            "insert into longshore.offsets values ($1, $2, $3, $4)",
            &[&stage.group, &stage.topic.name, &partition, &end],
        );
    }
}

fn insert(stage: &Stage, id: Uuid, row: &Enriched) {
    stage.database.query(
        "insert into ads.enriched_events values ($1::text::uuid, $2,
           'epoch'::timestamptz + $3 * interval '1 microsecond', $4, $5, $6, $7, $8, $9, $10,
           $11::text::char(3), $12)",
        &[
            &id.to_string(),
            &row.kind,
            &(row.occurred_micros as f64),
            &row.advertiser_id,
            &row.advertiser_name,
            &row.campaign_id,
            &row.campaign_name,
            &row.user_id,
            &row.placement,
            &row.cost_micros,
            &row.currency,
            &row.billable,
        ],
    );
}
