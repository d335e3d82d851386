//! What the target tables refuse costs the refused records and no others, whatever refuses and
//! whenever it speaks: checks, foreign keys, unique keys, deferred constraints, triggers, types.

mod support;

use std::collections::HashMap;

use support::model::Model;
use support::records::{Event, Mix, Sent};
use support::stage::Stage;

/// Who may not be named in an event.
const BANNED: &str = "banned-user";

/// Users that events may name: all but one.
const USERS: &str = "
    create table users (id text primary key);
    insert into users select 'user-' || n from generate_series(0, 20) n;";

#[test]
fn a_foreign_key() {
    refuses(&format!(
        "{USERS} alter table ads.enriched_events
           add constraint enriched_events_user foreign key (user_id) references users"
    ));
}

#[test]
fn a_deferred_foreign_key() {
    refuses(&format!(
        "{USERS} alter table ads.enriched_events
           add constraint enriched_events_user foreign key (user_id) references users
           deferrable initially deferred"
    ));
}

#[test]
fn a_check_and_a_narrow_column() {
    refuses(&format!(
        "alter table ads.enriched_events
           add constraint enriched_events_user check (user_id <> '{BANNED}')"
    ));
    refuses("alter table ads.enriched_events alter column user_id type varchar(10)");
}

#[test]
fn a_trigger() {
    refuses(&trigger("create trigger no_banned_users before insert"));
}

#[test]
fn a_deferred_constraint_trigger() {
    let create = "create constraint trigger no_banned_users after insert";
    let table = "on ads.enriched_events";
    let deferred = "on ads.enriched_events deferrable initially deferred";
    refuses(&trigger(create).replace(table, deferred));
}

#[test]
fn a_unique_key_beside_the_identity_keeps_one_of_each_pair() {
    pairs("alter table ads.enriched_events add constraint enriched_events_user unique (user_id)");
}

#[test]
fn a_deferred_unique_key_beside_the_identity_keeps_one_of_each_pair() {
    pairs(
        "alter table ads.enriched_events add constraint enriched_events_user unique (user_id)
         deferrable initially deferred",
    );
}

#[test]
fn many_refused_records_in_one_batch_are_all_found() {
    let Some(stage) = Stage::set(2) else { return };
    let sent = stage.send(36, Mix { negative_costs: 0.4, ..Mix::USUAL }, 4_000);
    stage.service().run_until_end();
    stage.exact(&sent);
}

#[test]
fn a_batch_of_nothing_but_refused_records_is_parked() {
    let Some(stage) = Stage::set(1) else { return };
    let sent = stage.send(37, Mix { negative_costs: 1.0, ..Mix::CLEAN }, 300);
    stage.service().set("pipelines.ads", "dead_letter_budget", "\"off\"").run_until_end();
    stage.exact(&sent);
}

fn trigger(create: &str) -> String {
    format!(
        "create function refuse() returns trigger language plpgsql as $$
           begin
             if new.user_id = '{BANNED}' then
               raise exception 'no % in enriched_events', new.user_id;
             end if;
             return new;
           end $$;
         {create} on ads.enriched_events for each row execute function refuse()"
    )
}

/// Tries a constraint that refuses one user: one record in a hundred, and a few in a row.
fn refuses(constraint: &str) {
    let Some(stage) = Stage::set(3) else { return };
    stage.database.run(constraint);
    let mut records = stage.generator(31, Mix { odd_spelling: false, ..Mix::CLEAN });
    let drafts = (0..6_000).map(|nth| {
        let banned = nth % 100 == 50 || (900..905).contains(&nth);
        let user_id = if banned { BANNED.to_owned() } else { format!("user-{}", nth % 20) };
        let event = Event { user_id, ..records.event() };
        records.record(nth % 3, event)
    });
    let drafts = drafts.collect();
    let sent = stage.topic.send(drafts);
    stage.service().set("pipelines.ads.batch", "records", "1000").run_until_end();
    let is_banned = |event: &Event| event.user_id == BANNED;
    let mut model = Model::with_rule(&stage.reference, &sent, is_banned);
    // What a narrow column refuses is told by its type, not by the table's name.
    let narrow = constraint.contains("varchar");
    model.parked.values_mut().filter(|_| narrow).for_each(|parked| parked.word = "varying");
    stage.exact_model(&model);
}

/// Tries a unique key: of each pair of users one record is saved and the other parked, it is open
/// which, and neither is taken for a duplicate.
fn pairs(constraint: &str) {
    let Some(stage) = Stage::set(1) else { return };
    stage.database.run(constraint);
    let mut records = stage.generator(32, Mix { odd_spelling: false, ..Mix::CLEAN });
    let drafts = (0..1_000).map(|nth| {
        let user = if nth % 50 == 1 { nth - 1 } else { nth };
        let event = Event { user_id: format!("user-{user}"), ..records.event() };
        records.record(0, event)
    });
    let drafts = drafts.collect();
    let sent = stage.topic.send(drafts);
    stage.service().run_until_end();
    let parked = stage.database.query("select \"offset\" from longshore.parked_records", &[]);
    let parked = parked.iter().map(|row| row.get::<_, i64>(0)).collect::<Vec<_>>();
    assert_eq!(parked.len(), 20, "one of each pair is parked");
    let user = |one: &Sent| (one.offset - i64::from(one.offset % 50 == 1), one.offset);
    let pairs = sent.iter().map(user).collect::<Vec<_>>();
    let mut left = HashMap::<i64, usize>::new();
    for (user, offset) in pairs {
        *left.entry(user).or_default() += usize::from(!parked.contains(&offset));
    }
    assert!(left.values().all(|count| *count == 1), "each user has one saved record");
    let ids = sent.iter().filter(|one| parked.contains(&one.offset));
    let ids = ids.filter_map(|one| one.draft.said.event_id()).collect::<Vec<_>>();
    let is_parked = |event: &Event| ids.contains(&event.event_id);
    stage.exact_model(&Model::with_rule(&stage.reference, &sent, is_parked));
}
