//! The accounts that the feed of payments refers to, and the SQL that puts them into the database.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::reference::{CURRENCIES, insert};

/// Ids that one seed's accounts may take, so that another seed's are others: a feed must know the
/// balances that it begins with.
const IDS: i64 = 10_000_000;

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: i64,
    /// What it is kept in.
    pub currency: &'static str,
    /// What it begins with, in cents.
    pub balance_cents: i64,
}

/// All accounts that a feed knows. Ids follow each other without gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentsReference {
    /// The accounts by id.
    pub accounts: Vec<Account>,
}

impl PaymentsReference {
    /// Makes up accounts, at least one.
    pub fn generate(seed: u64, accounts: u32) -> Self {
        // Apart from the records' numbers, so that the data stays when the records change.
        let mut rng = StdRng::seed_from_u64(seed ^ 0x0070_6179);
        let first = (seed % 100_000_007) as i64 * IDS + 1;
        let account = |id| Account {
            id,
            currency: CURRENCIES[rng.random_range(0..CURRENCIES.len())],
            balance_cents: rng.random_range(0..1_000_000),
        };
        Self { accounts: (first..first + i64::from(accounts.max(1))).map(account).collect() }
    }

    /// An id that no account has.
    pub(super) fn unknown_id(&self, number: u32) -> i64 {
        let last = self.accounts.last().map_or(0, |account| account.id);
        last + 1 + i64::from(number)
    }

    /// The SQL that inserts them; rows that are there already stay as they are.
    pub fn insert_sql(&self) -> String {
        let rows = self.accounts.iter();
        let rows =
            rows.map(|row| format!("({}, '{}', {})", row.id, row.currency, row.balance_cents));
        let mut sql = String::new();
        insert(&mut sql, "payments.accounts (id, currency, balance_cents)", rows);
        sql
    }
}
