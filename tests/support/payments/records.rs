//! A seeded generator of payments.

use std::collections::HashMap;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

use super::super::database::Database;
use super::super::records::{Draft, Said};
use super::super::topics::Topic;

/// Currencies of accounts, in turn.
const CURRENCIES: [&str; 3] = ["EUR", "USD", "JPY"];

/// The accounts: numbers from 1, with odd balances that are hardly ever met again by chance.
#[derive(Clone, Debug)]
pub(crate) struct Accounts {
    pub(crate) number: i64,
    /// How many of them get a large part of the payments.
    pub(crate) hot: i64,
}

impl Accounts {
    /// What is on an account at first, in cents.
    pub(crate) fn initial(account: i64) -> i64 {
        1_000_000_000_000_000 + account * 7_919_000_003
    }

    pub(crate) fn currency(account: i64) -> &'static str {
        CURRENCIES[account as usize % CURRENCIES.len()]
    }

    pub(crate) fn load(&self, database: &Database) {
        database.run(&format!(
            "insert into payments.accounts
             select n, (array['EUR','USD','JPY'])[n % 3 + 1], 1000000000000000 + n * 7919000003
             from generate_series(1, {}) n",
            self.number
        ));
    }
}

/// The share of each kind of record that is not a plain payment, 0 to 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PaymentMix {
    pub(crate) hot: f64,
    pub(crate) duplicates: f64,
    pub(crate) overdrawn: f64,
    pub(crate) unknown: f64,
    pub(crate) malformed: f64,
    pub(crate) other_currency: f64,
    pub(crate) tombstones: f64,
    /// Whether all payments of an account are in one partition.
    pub(crate) keyed: bool,
}

impl PaymentMix {
    pub(crate) const USUAL: Self = Self {
        hot: 0.3,
        duplicates: 0.05,
        overdrawn: 0.01,
        unknown: 0.002,
        malformed: 0.002,
        other_currency: 0.001,
        tombstones: 0.001,
        keyed: true,
    };
}

/// What a record means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Payment { id: Uuid, account: i64, amount: i64, currency: &'static str },
    Malformed,
    Tombstone,
}

/// A record where the broker put it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) what: What,
}

/// See the module.
pub(crate) struct PaymentRecords {
    rng: StdRng,
    mix: PaymentMix,
    accounts: Accounts,
    partitions: i32,
    /// Younger than what retention takes away.
    begun_ms: i64,
    /// Payments that may be repeated, by partition.
    earlier: HashMap<i32, Vec<What>>,
}

impl PaymentRecords {
    pub(crate) fn new(seed: u64, partitions: i32, mix: PaymentMix, accounts: &Accounts) -> Self {
        let (rng, accounts) = (StdRng::seed_from_u64(seed), accounts.clone());
        let begun_ms = chrono::Utc::now().timestamp_millis();
        Self { rng, mix, accounts, partitions, begun_ms, earlier: HashMap::new() }
    }

    /// Makes `count` records and sends them.
    pub(crate) fn send(&mut self, topic: &Topic, count: usize) -> Vec<Sent> {
        let made: Vec<(What, Draft)> = (0..count).map(|_| self.next()).collect();
        Self::send_these(topic, made)
    }

    /// Sends records that were made by hand.
    pub(crate) fn send_these(topic: &Topic, made: Vec<(What, Draft)>) -> Vec<Sent> {
        let (whats, drafts): (Vec<_>, Vec<_>) = made.into_iter().unzip();
        let sent = topic.send(drafts).into_iter().zip(whats);
        let place = |(sent, what): (super::super::records::Sent, What)| Sent {
            partition: sent.draft.partition,
            offset: sent.offset,
            what,
        };
        sent.map(place).collect()
    }

    /// A payment of `account` over `amount`, with an id of its own.
    pub(crate) fn payment(&mut self, account: i64, amount: i64) -> What {
        let id = Uuid::from_u128(self.rng.random());
        What::Payment { id, account, amount, currency: Accounts::currency(account) }
    }

    /// The record that says `what`, for `partition`.
    pub(crate) fn draft(&mut self, what: What, partition: i32) -> (What, Draft) {
        let value = match what {
            What::Tombstone => None,
            What::Malformed => Some(self.malformed()),
            What::Payment { id, account, amount, currency } => Some(format!(
                "{{\"payment_id\": \"{id}\", \"account_id\": {account}, \"amount_cents\": \
                 {amount}, \"currency\": \"{currency}\", \"note\": [1, {{}}], \
                 \"requested_at\": \"2026-11-21T12:00:00.123456Z\"}}"
            )),
        };
        let key = match what {
            What::Payment { account, .. } => Some(account.to_string().into_bytes()),
            _ => None,
        };
        let draft = Draft {
            partition,
            key,
            value: value.map(String::into_bytes),
            timestamp_ms: self.begun_ms,
            headers: Vec::new(),
            said: Said::Tombstone,
        };
        (what, draft)
    }

    fn next(&mut self) -> (What, Draft) {
        let partition = self.rng.random_range(0..self.partitions);
        let mix = self.mix;
        let mut dice: f64 = self.rng.random();
        let mut is = |share: f64| {
            dice -= share;
            dice < 0.0
        };
        if is(mix.duplicates)
            && let Some(what) = self.earlier.get(&partition).and_then(|e| e.choose(&mut self.rng))
        {
            let what = *what;
            return self.draft(what, partition);
        }
        if is(mix.malformed) {
            return self.draft(What::Malformed, partition);
        }
        if is(mix.tombstones) {
            return self.draft(What::Tombstone, partition);
        }
        let is_overdrawn = is(mix.overdrawn);
        let (is_unknown, is_other) = (is(mix.unknown), is(mix.other_currency));
        let account = self.account(is_unknown);
        let amount = if is_overdrawn {
            -self.rng.random_range(1_000_000_000_000_000_000..2_000_000_000_000_000_000)
        } else {
            self.amount()
        };
        let What::Payment { id, amount, mut currency, .. } = self.payment(account, amount) else {
            unreachable!("it is a payment")
        };
        if is_other {
            currency = "CHF";
        }
        let what = What::Payment { id, account, amount, currency };
        let by_account = (account % i64::from(self.partitions)) as i32;
        let partition = if mix.keyed { by_account } else { partition };
        self.earlier.entry(partition).or_default().push(what);
        self.draft(what, partition)
    }

    fn account(&mut self, is_unknown: bool) -> i64 {
        if is_unknown {
            return self.rng.random_range(10_000_000..20_000_000);
        }
        if self.rng.random_bool(self.mix.hot) {
            return self.rng.random_range(1..=self.accounts.hot);
        }
        self.rng.random_range(1..=self.accounts.number)
    }

    /// Large and odd, so that running balances hardly ever meet; more comes than goes.
    fn amount(&mut self) -> i64 {
        let amount = self.rng.random_range(1..1_000_000_000_000);
        if self.rng.random_bool(0.4) { -amount } else { amount }
    }

    fn malformed(&mut self) -> String {
        let bad = [
            "",
            "{",
            "[]",
            "{\"payment_id\": 1}",
            "{\"payment_id\": \"5f0c1f5e-3b1e-4a57-9d5c-7a1f0d3b2c10\", \"account_id\": 1, \
             \"amount_cents\": 0, \"currency\": \"EUR\", \
             \"requested_at\": \"2026-11-21T12:00:00Z\"}",
            "{\"payment_id\": \"5f0c1f5e-3b1e-4a57-9d5c-7a1f0d3b2c10\", \"account_id\": 1, \
             \"amount_cents\": 9223372036854775808, \"currency\": \"EUR\", \
             \"requested_at\": \"2026-11-21T12:00:00Z\"}",
            "{\"payment_id\": \"5f0c1f5e-3b1e-4a57-9d5c-7a1f0d3b2c10\", \"account_id\": 1, \
             \"amount_cents\": 1, \"amount_cents\": 2, \"currency\": \"EUR\", \
             \"requested_at\": \"2026-11-21T12:00:00Z\"}",
        ];
        (*bad.choose(&mut self.rng).expect("there are some")).to_owned()
    }
}
