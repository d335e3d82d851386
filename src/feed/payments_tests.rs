//! The feed of payments keeps its word: judged anew from its bytes, each record comes to what it
//! says.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::{Expected, Feed, FeedRecord, PaymentsFeed, PaymentsOptions, PaymentsShares, Totals};

const RECORDS: usize = 60_000;

fn rough(seed: u64, keyed: bool) -> PaymentsFeed {
    let shares = PaymentsShares::ROUGH;
    let options = PaymentsOptions { accounts: 2000, shares, keyed, ..PaymentsOptions::default() };
    PaymentsFeed::with(seed, options)
}

#[test]
fn a_seed_gives_the_same_payments_and_another_seed_others_on_other_accounts() {
    let take = |seed| rough(seed, true).take(5000).collect::<Vec<_>>();
    assert_eq!(take(7), take(7));
    assert_ne!(take(7), take(8));
    let ids = |seed| -> HashSet<i64> {
        rough(seed, true).reference().accounts.iter().map(|account| account.id).collect()
    };
    assert!(ids(7).is_disjoint(&ids(8)));
}

#[test]
fn every_kind_comes_in_its_share_and_the_hot_accounts_have_theirs() {
    for keyed in [true, false] {
        let mut feed = rough(1, keyed);
        let (mut totals, mut hot) = (Totals::default(), 0);
        let mut record = FeedRecord::default();
        let first = feed.reference().accounts[0].id;
        for _ in 0..RECORDS {
            feed.fill(&mut record);
            totals.count(record.expected);
            hot += usize::from(feed.applied().is_some_and(|a| a.account_id < first + 200));
        }
        let near = |count: u64, share: f64| {
            (count as f64 - share * RECORDS as f64).abs() < 0.004 * RECORDS as f64
        };
        assert_eq!(totals.records(), RECORDS as u64);
        assert!(near(totals.duplicate, 0.05) && near(totals.skipped, 0.001), "{totals:?}");
        for (reason, share) in
            [("overdrawn", 0.01), ("unknown account", 0.002), ("other currency", 0.001)]
        {
            assert!(near(totals.rejected[reason], share), "{reason}: {totals:?}");
        }
        assert!((hot as f64 / totals.saved as f64 - 0.3).abs() < 0.01, "{hot}");
    }
}

/// Applies the records to accounts of its own, partition after partition if `order` says so.
struct Judge {
    balances: HashMap<i64, i64>,
    currencies: HashMap<i64, &'static str>,
    saved: HashSet<String>,
}

impl Judge {
    fn new(feed: &PaymentsFeed) -> Self {
        let accounts = &feed.reference().accounts;
        Self {
            balances: accounts.iter().map(|row| (row.id, row.balance_cents)).collect(),
            currencies: accounts.iter().map(|row| (row.id, row.currency)).collect(),
            saved: HashSet::new(),
        }
    }

    fn judge(&mut self, record: &FeedRecord) -> Expected {
        let Some(value) = record.value() else { return Expected::Skipped };
        if record.expected == Expected::Rejected("malformed") {
            return record.expected; // Judged by the pipeline's own parser in its tests.
        }
        let payment: Value = serde_json::from_slice(value).unwrap();
        let id = payment["payment_id"].as_str().unwrap().to_owned();
        let (account, amount) =
            (payment["account_id"].as_i64().unwrap(), payment["amount_cents"].as_i64().unwrap());
        if self.saved.contains(&id) {
            return Expected::Duplicate;
        }
        let Some(balance) = self.balances.get_mut(&account) else {
            return Expected::Rejected("unknown account");
        };
        if payment["currency"] != self.currencies[&account] {
            return Expected::Rejected("other currency");
        }
        if *balance + amount < 0 {
            return Expected::Rejected("overdrawn");
        }
        *balance += amount;
        self.saved.insert(id);
        Expected::Saved
    }
}

#[test]
fn keyed_each_fate_and_each_balance_follow_from_the_bytes() {
    let mut feed = rough(3, true);
    let mut judge = Judge::new(&feed);
    let (mut record, mut partitions) = (FeedRecord::default(), HashMap::new());
    for _ in 0..RECORDS {
        feed.fill(&mut record);
        assert_eq!(judge.judge(&record), record.expected, "{record:?}");
        assert_eq!(feed.applied().is_some(), record.expected == Expected::Saved);
        if let Some(applied) = feed.applied() {
            assert_eq!(judge.balances[&applied.account_id], applied.balance_after_cents);
            let partition = *partitions.entry(applied.account_id).or_insert(record.partition);
            assert_eq!(partition, record.partition, "an account's payments lie together");
        }
    }
    let balances = feed.reference().accounts.iter().zip(feed.balances());
    balances.for_each(|(row, balance)| assert_eq!(judge.balances[&row.id], *balance));
}

#[test]
fn not_keyed_the_fates_are_the_same_in_whatever_order_the_partitions_come() {
    let mut feed = rough(4, false);
    let mut forward = Judge::new(&feed);
    let mut backward = Judge::new(&feed);
    let mut lanes = vec![Vec::new(); 8];
    for _ in 0..RECORDS {
        let record = feed.next().unwrap();
        lanes[record.partition as usize].push(record);
    }
    for record in lanes.iter().flatten() {
        assert_eq!(forward.judge(record), record.expected, "{record:?}");
    }
    for record in lanes.iter().rev().flatten() {
        assert_eq!(backward.judge(record), record.expected, "{record:?}");
    }
    let balances = feed.reference().accounts.iter().zip(feed.balances());
    balances.for_each(|(row, balance)| assert_eq!(forward.balances[&row.id], *balance));
    assert_eq!(forward.balances, backward.balances);
    let begun: i64 = feed.reference().accounts.iter().map(|row| row.balance_cents).sum();
    assert_eq!(feed.balances().iter().sum::<i64>(), begun + feed.amount_cents());
}

#[test]
fn an_overdrawn_payment_that_is_sent_again_may_be_saved_then() {
    let feed = &mut rough(5, true);
    let mut overdrawn = HashSet::new();
    let mut saved_later = 0;
    for record in feed.take(RECORDS) {
        match record.expected {
            Expected::Rejected("overdrawn") => {
                overdrawn.insert(record.bytes);
            }
            Expected::Saved if overdrawn.contains(&record.bytes) => saved_later += 1,
            _ => {}
        }
    }
    assert!(saved_later > 0);
}

#[test]
fn accounts_are_inserted_beside_those_that_are_there() {
    let sql = rough(1, true).reference().insert_sql();
    assert!(sql.starts_with("insert into payments.accounts (id, currency, balance_cents) values"));
    assert!(sql.contains("on conflict (id) do nothing;"));
}
