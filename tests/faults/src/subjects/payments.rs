//! Feeds the shipped payments pipeline and checks the books: each payment with the balance that it
//! found, each account with its last one. Payments of an account are in one partition, so that all
//! of it is known beforehand.

use std::collections::HashMap;

use anyhow::Result;
use postgres::Client;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use crate::{Becomes, Delivered, Draft, Subject};

/// How many accounts there are: few enough that a batch has several payments of each.
const ACCOUNTS: i64 = 300;
/// What is on each at first.
const INITIAL: i64 = 1_000_000;
const PARTITIONS: i32 = 6;
/// One record in so many is bad, of each of four kinds.
const ONE_IN: u32 = 500;
/// The database refuses amounts that this divides.
const REFUSED: i64 = 1_009;
/// Payments of which one may be repeated.
const REPEATED: usize = 2_000;

#[derive(Clone, Copy)]
struct Payment {
    id: u128,
    account: i64,
    amount: i64,
}

/// Feeds and checks the payments pipeline.
pub struct PaymentsSubject {
    rng: ChaCha8Rng,
    balances: HashMap<i64, i64>,
    /// The payments that must be applied, and what is on the account then.
    applied: HashMap<u128, (Payment, i64)>,
    recent: Vec<Payment>,
}

impl PaymentsSubject {
    /// The records that `seed` gives.
    pub fn new(seed: u64) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed ^ 0x0070_6179),
            balances: (1..=ACCOUNTS).map(|account| (account, INITIAL)).collect(),
            applied: HashMap::new(),
            recent: Vec::new(),
        }
    }

    fn next(&mut self) -> Payment {
        if !self.recent.is_empty() && self.rng.random_range(0..20) == 0 {
            return self.recent[self.rng.random_range(0..self.recent.len())];
        }
        let mut payment = Payment {
            id: self.rng.random(),
            account: self.rng.random_range(1..=ACCOUNTS),
            amount: self.rng.random_range(1..100_000),
        };
        match self.rng.random_range(0..ONE_IN) {
            0 => payment.account += 1_000_000,
            1 => payment.amount = -1_000_000_000_000,
            2 => payment.amount *= REFUSED,
            n if n % 5 < 2 => payment.amount = -payment.amount,
            _ => {}
        }
        if self.recent.len() < REPEATED {
            self.recent.push(payment);
        } else {
            let place = self.rng.random_range(0..REPEATED);
            self.recent[place] = payment;
        }
        payment
    }

    /// What must become of a payment whose turn it is.
    fn judge(&mut self, payment: Payment) -> Becomes {
        if self.applied.contains_key(&payment.id) {
            return Becomes::Passed;
        }
        let Some(balance) = self.balances.get_mut(&payment.account) else { return Becomes::Parked };
        let after = *balance + payment.amount;
        if after < 0 || payment.amount % REFUSED == 0 {
            return Becomes::Parked;
        }
        *balance = after;
        self.applied.insert(payment.id, (payment, after));
        Becomes::Saved
    }

    fn check_payments(&self, database: &mut Client) -> Result<Vec<String>> {
        let rows = database.query(
            "select payment_id::text, account_id, amount_cents, balance_after_cents
             from payments.payments",
            &[],
        )?;
        let mut found = Vec::new();
        let mut missing: HashMap<u128, &(Payment, i64)> =
            self.applied.iter().map(|(id, payment)| (*id, payment)).collect();
        for row in &rows {
            let id: &str = row.get(0);
            let number = u128::from_str_radix(&id.replace('-', ""), 16)?;
            let is: (i64, i64, i64) = (row.get(1), row.get(2), row.get(3));
            let should =
                missing.remove(&number).map(|(one, after)| (one.account, one.amount, *after));
            if should != Some(is) {
                found.push(format!("payments: {id} is {is:?}, but should be {should:?}"));
            }
        }
        found.extend(missing.keys().map(|id| format!("payments: {id:032x} is lost")));
        Ok(found)
    }

    fn check_accounts(&self, database: &mut Client) -> Result<Vec<String>> {
        let rows = database.query("select id, balance_cents from payments.accounts", &[])?;
        let differ = rows.iter().filter_map(|row| {
            let (account, is): (i64, i64) = (row.get(0), row.get(1));
            let should = self.balances.get(&account).copied();
            (should != Some(is))
                .then(|| format!("payments: account {account} has {is}, not {should:?}"))
        });
        Ok(differ.collect())
    }
}

impl Subject for PaymentsSubject {
    fn name(&self) -> &str {
        "payments"
    }

    fn settings(&self) -> Vec<(&str, String)> {
        vec![
            ("batch", "{ records = 300, linger = \"20 ms\" }".to_owned()),
            ("dead_letter_budget", "\"off\"".to_owned()),
        ]
    }

    fn partitions(&self) -> i32 {
        PARTITIONS
    }

    fn prepare(&mut self, database: &mut Client) -> Result<()> {
        Ok(database.batch_execute(&format!(
            "insert into payments.accounts
             select n, 'EUR', {INITIAL} from generate_series(1, {ACCOUNTS}) n;
             create function payments.refuse() returns trigger language plpgsql as $$
               begin raise exception 'payment of % is refused', new.amount_cents; end $$;
             create trigger refuse before insert on payments.payments for each row
               when (new.amount_cents % {REFUSED} = 0) execute function payments.refuse()"
        ))?)
    }

    fn draw(&mut self, draft: &mut Draft) {
        if self.rng.random_range(0..ONE_IN) == 0 {
            draft.value.extend_from_slice(b"{\"payment_id\": 7}");
            draft.becomes = Becomes::Parked;
            return;
        }
        let payment = self.next();
        let Payment { id, account, amount } = payment;
        draft.partition = (account % i64::from(PARTITIONS)) as i32;
        draft.key = account.to_string().into_bytes();
        let hex = format!("{id:032x}");
        let id = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
        let value = json!({
            "payment_id": id, "account_id": account, "amount_cents": amount, "currency": "EUR",
            "requested_at": "2026-11-21T12:00:00Z",
        });
        serde_json::to_writer(&mut draft.value, &value).expect("a vector takes all");
        draft.becomes = self.judge(payment);
    }

    fn check(&self, _: &[Delivered], database: &mut Client) -> Result<Vec<String>> {
        let mut found = self.check_payments(database)?;
        found.extend(self.check_accounts(database)?);
        Ok(found)
    }
}
