//! The feed of payments, by the contract of the `payments` pipeline. It keeps the balances itself,
//! so that it knows what must become of each record.
//!
//! # Why
//! Where payments are not keyed by account, their order across partitions is nobody's to know. So
//! that each record's fate is known all the same, what is paid out there never exceeds what an
//! account had at the beginning, and what is to be overdrawn exceeds everything.

use std::io::Write as _;

use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use uuid::{Builder, Uuid};

use super::accounts::PaymentsReference;
use super::clock::Clock;
use super::payments_mix::{Kind, PaymentsShares};
use super::remembered::Remembered;
use super::{Expected, Feed, FeedRecord, spoil};

/// The largest payment of the usual kind, in cents.
const CENTS_MAX: i64 = 100_000;

/// More than any account ever has.
const TOO_MUCH_CENTS: i64 = 1_000_000_000_000_000;

/// How long after one payment the next one is requested, at most, in microseconds.
const STEP_MICROS_MAX: u64 = 500;

/// How a feed of payments looks.
#[derive(Clone, Debug, PartialEq)]
pub struct PaymentsOptions {
    /// How many partitions the records go to.
    pub partitions: i32,
    /// How many accounts there are.
    pub accounts: u32,
    /// How many of them are hot.
    pub hot_accounts: u32,
    /// The share of the records that the hot ones have, from 0 to 1.
    pub hot_share: f64,
    /// How much of each kind of record there is.
    pub shares: PaymentsShares,
    /// Whether an account's payments lie in one partition; else in any.
    pub keyed: bool,
}

impl Default for PaymentsOptions {
    fn default() -> Self {
        Self {
            partitions: 8,
            accounts: 20_000,
            hot_accounts: 200,
            hot_share: 0.3,
            shares: PaymentsShares::default(),
            keyed: true,
        }
    }
}

/// A payment that must be saved, and what the account must have after it. Where payments are not
/// keyed by account, they may be applied in another order, and only the last balance is certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Its id.
    pub payment_id: Uuid,
    /// Its account.
    pub account_id: i64,
    /// What is paid in, or out if it is below 0, in cents.
    pub amount_cents: i64,
    /// What the account has after it, in cents.
    pub balance_after_cents: i64,
}

/// Makes payments, the same ones from the same seed and options.
#[derive(Clone, Debug)]
pub struct PaymentsFeed {
    rng: StdRng,
    options: PaymentsOptions,
    reference: PaymentsReference,
    /// What each account has, in cents.
    balances: Vec<i64>,
    /// What each account may still pay out, whatever comes in, in cents.
    reserves: Vec<i64>,
    clock: Clock,
    sent: Remembered<Sent>,
    applied: Option<Applied>,
    amount_cents: i64,
}

/// A record that may be repeated.
#[derive(Clone, Debug)]
struct Sent {
    record: FeedRecord,
    payment_id: Uuid,
    account: usize,
    amount_cents: i64,
    is_saved: bool,
}

impl PaymentsFeed {
    /// A feed as a demo shows it.
    pub fn new(seed: u64) -> Self {
        Self::with(seed, PaymentsOptions::default())
    }

    /// A feed with options of its own.
    pub fn with(seed: u64, options: PaymentsOptions) -> Self {
        let reference = PaymentsReference::generate(seed, options.accounts);
        let balances: Vec<_> = reference.accounts.iter().map(|row| row.balance_cents).collect();
        Self {
            rng: StdRng::seed_from_u64(seed),
            options,
            reference,
            reserves: balances.clone(),
            balances,
            clock: Clock::default(),
            sent: Remembered::default(),
            applied: None,
            amount_cents: 0,
        }
    }

    /// The accounts that must be in the database before the first record.
    pub fn reference(&self) -> &PaymentsReference {
        &self.reference
    }

    /// What the accounts must have after all records so far, in cents, in the reference's order.
    pub fn balances(&self) -> &[i64] {
        &self.balances
    }

    /// The payment of the record that was made last, if it must be saved.
    pub fn applied(&self) -> Option<Applied> {
        self.applied
    }

    /// What the amounts of all payments that must be saved add up to, in cents.
    pub fn amount_cents(&self) -> i64 {
        self.amount_cents
    }

    fn draw_account(&mut self) -> usize {
        let all = self.balances.len();
        let hot = (self.options.hot_accounts as usize).clamp(1, all);
        let is_hot = self.rng.random_bool(self.options.hot_share.clamp(0.0, 1.0));
        if is_hot || hot == all {
            self.rng.random_range(0..hot)
        } else {
            self.rng.random_range(hot..all)
        }
    }

    fn draw_amount(&mut self, kind: Kind, account: usize) -> i64 {
        let has = self.balances[account];
        match (kind, self.options.keyed) {
            (Kind::Overdrawn, true) => -(has + self.rng.random_range(1..=CENTS_MAX)),
            (Kind::Overdrawn, false) => -TOO_MUCH_CENTS,
            (_, keyed) => {
                let may = if keyed { has } else { self.reserves[account] }.min(CENTS_MAX);
                if may > 0 && self.rng.random() {
                    -self.rng.random_range(1..=may)
                } else {
                    self.rng.random_range(1..=CENTS_MAX)
                }
            }
        }
    }

    /// Makes a new payment, and gives what must become of it.
    fn make(&mut self, kind: Kind, record: &mut FeedRecord) {
        let account = self.draw_account();
        let amount_cents = self.draw_amount(kind, account);
        let mut random = [0; 16];
        self.rng.fill_bytes(&mut random);
        let payment_id = Builder::from_random_bytes(random).into_uuid();
        let account_id = match kind {
            Kind::UnknownAccount => self.reference.unknown_id(account as u32),
            _ => self.reference.accounts[account].id,
        };
        self.write(kind, (payment_id, account_id), (account, amount_cents), &mut record.bytes);
        record.is_tombstone = kind == Kind::Tombstone;
        record.key.clear();
        let (key, partitions) = (&mut record.key, i64::from(self.options.partitions.max(1)));
        // Writing into a vector cannot fail.
        let _ = if self.options.keyed {
            write!(key, "{account_id}")
        } else {
            write!(key, "{payment_id}")
        };
        let place = if self.options.keyed { account_id } else { i64::from(self.rng.next_u32()) };
        record.partition = (place % partitions) as i32;
        record.expected = expectation(kind);
        let is_saved = record.expected == Expected::Saved;
        if is_saved {
            self.apply(payment_id, account, amount_cents);
        }
        if kind != Kind::Tombstone {
            let record = record.clone();
            self.sent.push(Sent { record, payment_id, account, amount_cents, is_saved });
        }
    }

    fn write(
        &mut self,
        kind: Kind,
        (payment_id, account_id): (Uuid, i64),
        (account, amount_cents): (usize, i64),
        out: &mut Vec<u8>,
    ) {
        let currency = match kind {
            Kind::OtherCurrency => "XTS",
            _ => self.reference.accounts[account].currency,
        };
        out.clear();
        let _ = write!(
            out,
            "{{\"payment_id\":\"{payment_id}\",\"account_id\":{account_id},\
             \"amount_cents\":{amount_cents},\"currency\":\"{currency}\",\"requested_at\":\"",
        );
        self.clock.advance(self.rng.random_range(0..=STEP_MICROS_MAX));
        self.clock.write(out);
        out.extend_from_slice(b"\"}");
        if kind == Kind::Malformed {
            let ways = spoil::WAYS_OF_PAYMENTS;
            ways[self.rng.random_range(0..ways.len())](out);
        }
    }

    /// Copies an earlier record. If that one was overdrawn, the account may have enough by now.
    fn repeat(&mut self, index: usize, record: &mut FeedRecord) {
        let sent = &mut self.sent.all[index];
        record.clone_from(&sent.record);
        record.expected = match record.expected {
            _ if sent.is_saved => Expected::Duplicate,
            Expected::Rejected("overdrawn")
                if self.balances[sent.account] + sent.amount_cents >= 0 =>
            {
                sent.is_saved = true;
                Expected::Saved
            }
            rejected => rejected,
        };
        if record.expected == Expected::Saved {
            let (id, account, amount) = (sent.payment_id, sent.account, sent.amount_cents);
            self.apply(id, account, amount);
        }
    }

    fn apply(&mut self, payment_id: Uuid, account: usize, amount_cents: i64) {
        self.balances[account] += amount_cents;
        self.reserves[account] += amount_cents.min(0);
        self.amount_cents += amount_cents;
        self.applied = Some(Applied {
            payment_id,
            account_id: self.reference.accounts[account].id,
            amount_cents,
            balance_after_cents: self.balances[account],
        });
    }
}

impl Feed for PaymentsFeed {
    fn fill(&mut self, record: &mut FeedRecord) {
        self.applied = None;
        match self.options.shares.draw(&mut self.rng) {
            Kind::Duplicate => match self.sent.draw(&mut self.rng) {
                Some(index) => self.repeat(index, record),
                None => self.make(Kind::Good, record),
            },
            kind => self.make(kind, record),
        }
    }
}

impl Iterator for PaymentsFeed {
    type Item = FeedRecord;

    fn next(&mut self) -> Option<FeedRecord> {
        let mut record = FeedRecord::default();
        self.fill(&mut record);
        Some(record)
    }
}

fn expectation(kind: Kind) -> Expected {
    match kind {
        Kind::Good | Kind::Duplicate => Expected::Saved,
        Kind::Overdrawn => Expected::Rejected("overdrawn"),
        Kind::UnknownAccount => Expected::Rejected("unknown account"),
        Kind::Malformed => Expected::Rejected("malformed"),
        Kind::OtherCurrency => Expected::Rejected("other currency"),
        Kind::Tombstone => Expected::Skipped,
    }
}
