//! Payments keep their books: every payment is applied once, to the balance that the one before it
//! has left, whatever the topic is keyed by, whoever else changes balances, whatever is refused and
//! whatever dies.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use support::payments::books::Books;
use support::payments::records::{Accounts, PaymentMix, PaymentRecords, Sent, What};
use support::service::{Process, Service};
use support::stage::Stage;

const ACCOUNTS: Accounts = Accounts { number: 5_000, hot: 200 };

#[test]
fn half_a_million_payments_on_twelve_partitions() {
    let Some((stage, mut records)) = set(12, 61, PaymentMix::USUAL) else { return };
    let sent = records.send(&stage.topic, 500_000);
    service(&stage).run_until_end();
    Books::check(&stage.database, &sent, &[]);
    let again = service(&stage).run_until_end();
    assert!(again.says("saved=0"), "a second run finds nothing to do");
    Books::check(&stage.database, &sent, &[]);
}

#[test]
fn another_group_that_reads_it_all_again_applies_nothing_twice() {
    let Some((stage, mut records)) = set(4, 70, CLEAN) else { return };
    let sent = records.send(&stage.topic, 20_000);
    service(&stage).run_until_end();
    // It begins without looking for what is applied: its first groups run into it.
    let again = service(&stage).set("pipelines.payments", "group", "\"again\"").run_until_end();
    again.expect_word("saved=0").expect_word("duplicate=20000");
    Books::check(&stage.database, &sent, &[]);
}

#[test]
fn a_topic_that_is_not_keyed_by_account() {
    let mix = PaymentMix { keyed: false, ..PaymentMix::USUAL };
    let Some((stage, mut records)) = set(12, 62, mix) else { return };
    let sent = records.send(&stage.topic, 100_000);
    service(&stage).run_until_end();
    Books::check(&stage.database, &sent, &[]);
}

#[test]
fn another_program_changes_balances_meanwhile_and_no_change_is_lost() {
    let mix = PaymentMix { keyed: false, overdrawn: 0.0, ..PaymentMix::USUAL };
    let Some((stage, mut records)) = set(6, 63, mix) else { return };
    let sent = records.send(&stage.topic, 60_000);
    let (is_over, mut other) = (AtomicBool::new(false), stage.database.another_connection());
    let added = thread::scope(|scope| {
        let others = scope.spawn(|| {
            let mut added = Vec::new();
            for round in 0_i64.. {
                if is_over.load(Ordering::SeqCst) {
                    break;
                }
                let account = round % ACCOUNTS.hot + 1;
                let add = "update payments.accounts set balance_cents = balance_cents + $2
                           where id = $1";
                other.execute(add, &[&account, &(round + 1)]).expect("an update");
                added.push((account, round + 1));
            }
            added
        });
        service(&stage).run_until_end();
        is_over.store(true, Ordering::SeqCst);
        others.join().expect("no panic")
    });
    assert!(added.len() > 100, "{} changes by others", added.len());
    Books::check(&stage.database, &sent, &added);
}

#[test]
fn a_payment_that_the_database_refuses_in_the_middle_of_a_run_leaves_right_balances() {
    let Some((stage, mut records)) = set(1, 64, PaymentMix::USUAL) else { return };
    let payments: Vec<_> = (0..500).map(|n| records.payment(7, 1_000_003 + n)).collect();
    let refused = 1_000_003 + 2;
    stage.database.run(&refuse("payments.payments", &format!("new.amount_cents = {refused}")));
    let drafts = payments.into_iter().map(|what| records.draft(what, 0)).collect();
    let sent = PaymentRecords::send_these(&stage.topic, drafts);
    service(&stage).run_until_end();
    let parked = "select \"offset\", error from longshore.parked_records";
    let parked = stage.database.query(parked, &[]);
    assert_eq!(parked.len(), 1, "one record is parked");
    let (offset, error): (i64, &str) = (parked[0].get(0), parked[0].get(1));
    assert!(offset == 2 && error.contains("not this one"), "{offset}: {error}");
    stage.database.run("delete from longshore.parked_records");
    let others: Vec<Sent> = sent.into_iter().filter(|one| one.offset != 2).collect();
    Books::check(&stage.database, &others, &[]);
}

#[test]
fn an_account_that_the_database_will_not_change_costs_its_own_payments_alone() {
    let Some((stage, mut records)) = set(2, 65, PaymentMix { keyed: false, ..CLEAN }) else {
        return;
    };
    stage.database.run(&refuse("payments.accounts", "new.id = 7"));
    let mut drafts = Vec::new();
    for n in 0..400 {
        let account = if n % 80 == 3 { 7 } else { 1 + n % 50 * 10 };
        let what = records.payment(account, 1_000_003 + n);
        drafts.push(records.draft(what, (n % 2) as i32));
    }
    let sent = PaymentRecords::send_these(&stage.topic, drafts);
    service(&stage).run_until_end();
    let parked = "select count(*) from longshore.parked_records where lane_key = '7'";
    assert_eq!(stage.database.number(parked), 5, "all payments of the account are parked");
    stage.database.run("delete from longshore.parked_records");
    let is_other = |one: &Sent| !matches!(one.what, What::Payment { account: 7, .. });
    let others: Vec<Sent> = sent.into_iter().filter(is_other).collect();
    Books::check(&stage.database, &others, &[]);
}

#[test]
fn a_unique_key_beside_the_identity_costs_the_later_payment_alone() {
    let Some((stage, mut records)) = set(1, 68, CLEAN) else { return };
    stage.database.run(
        "alter table payments.payments
           add constraint one_of_each unique (account_id, amount_cents)",
    );
    let amount = |n: i64| 1_000_003 + if n == 250 { 100 } else { n };
    let payments: Vec<_> = (0..500).map(|n| records.payment(7, amount(n))).collect();
    let drafts = payments.into_iter().map(|what| records.draft(what, 0)).collect();
    let sent = PaymentRecords::send_these(&stage.topic, drafts);
    service(&stage).run_until_end();
    let parked = "select \"offset\", reason from longshore.parked_records";
    let parked = stage.database.query(parked, &[]);
    assert_eq!(parked.len(), 1, "one of the pair is parked");
    let (offset, reason): (i64, &str) = (parked[0].get(0), parked[0].get(1));
    assert!([100, 250].contains(&offset) && reason == "one_of_each", "{offset}: {reason}");
    stage.database.run("delete from longshore.parked_records");
    let others: Vec<Sent> = sent.into_iter().filter(|one| one.offset != offset).collect();
    Books::check(&stage.database, &others, &[]);
}

#[test]
fn killed_three_times_in_the_middle() {
    let Some((stage, mut records)) = set(12, 66, PaymentMix::USUAL) else { return };
    let sent = records.send(&stage.topic, 120_000);
    let end = stage.topic.ends().values().sum::<i64>();
    for fifth in 1..4 {
        let mut process = mortal(&stage).start(&["run", "payments"]);
        process.runs_until("a fifth more is settled", || stage.settled() >= fifth * end / 5);
        process.kill();
    }
    mortal(&stage).run_until_end();
    Books::check(&stage.database, &sent, &[]);
}

#[test]
fn two_instances_and_a_database_that_throws_them_out() {
    let mix = PaymentMix { keyed: false, ..PaymentMix::USUAL };
    let Some((stage, mut records)) = set(8, 67, mix) else { return };
    let mut sent = records.send(&stage.topic, 40_000);
    let mut instances: Vec<Process> =
        (0..2).map(|_| mortal(&stage).start(&["run", "payments"])).collect();
    instances[1].runs_until("both own partitions", || stage.owners() == 2);
    for round in 0..4 {
        sent.extend(records.send(&stage.topic, 20_000));
        let before = stage.settled();
        instances[0].runs_until("more is settled", || stage.settled() > before);
        if round % 2 == 0 {
            stage.database.throw_others_out();
        }
    }
    instances.remove(0).kill();
    stage.await_end(&mut instances[0]);
    instances.remove(0).terminate().expect_code(0);
    Books::check(&stage.database, &sent, &[]);
}

const CLEAN: PaymentMix = PaymentMix {
    hot: 0.3,
    duplicates: 0.0,
    overdrawn: 0.0,
    unknown: 0.0,
    malformed: 0.0,
    other_currency: 0.0,
    tombstones: 0.0,
    keyed: true,
};

fn set(partitions: i32, seed: u64, mix: PaymentMix) -> Option<(Stage, PaymentRecords)> {
    let stage = Stage::empty(partitions, &[])?;
    service(&stage).migrate();
    ACCOUNTS.load(&stage.database);
    let records = PaymentRecords::new(seed, partitions, mix, &ACCOUNTS);
    Some((stage, records))
}

/// The service with the stage's topic as that of the payments, and nothing else to do.
fn service(stage: &Stage) -> Service {
    let quoted = |text: &str| format!("\"{text}\"");
    stage
        .bare_service()
        .set("kafka", "brokers", &quoted(&stage.servers.brokers))
        .set("database", "url", &quoted(&stage.database.url))
        .set("pipelines.payments", "topics", &format!("[{}]", quoted(&stage.topic.name)))
        .set("pipelines.payments", "group", &quoted(&stage.group))
        .set("http", "listen", "\"127.0.0.1:0\"")
}

/// With small batches, and a broker that notices its death in seconds.
fn mortal(stage: &Stage) -> Service {
    service(stage)
        .set("pipelines.payments.batch", "records", "500")
        .set("kafka.properties", "\"session.timeout.ms\"", "\"4000\"")
        .set("kafka.properties", "\"heartbeat.interval.ms\"", "\"1000\"")
}

/// A trigger that refuses rows of `table` of which `condition` holds.
fn refuse(table: &str, condition: &str) -> String {
    format!(
        "create function refuse() returns trigger language plpgsql as $$
           begin
             if {condition} then
               raise exception 'not this one';
             end if;
             return new;
           end $$;
         create trigger refuse before insert or update on {table}
           for each row execute function refuse()"
    )
}
