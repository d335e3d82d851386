//! A pipeline whose records change what they look up: each adds to an account, and its row says
//! what was on the account then, so that a stale or a lost balance can be seen.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use hashbrown::{HashMap, HashSet};
use serde::Deserialize;

use crate::error::{EncodeError, Reject, Unworked};
use crate::pipeline::{Context, Keys, Out, Outcome, Pipeline};
use crate::record::{Record, Unparsed};
use crate::rows::{Row, RowBuffer};

/// Adds each event's amount to its account; rejects an amount of 0 after it was added, and panics
/// for -1.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ledger;

/// What a record says.
#[derive(Debug, Deserialize)]
pub struct LedgerEvent {
    account: u64,
    amount: i64,
}

/// The value of a record.
pub fn ledger_value(account: u64, amount: i64) -> Vec<u8> {
    format!(r#"{{"account":{account},"amount":{amount}}}"#).into_bytes()
}

/// A row: of an event, or of a changed account (with an amount of 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerRow {
    /// The account.
    pub account: u64,
    /// What was added.
    pub amount: i64,
    /// What was on it then.
    pub after: i64,
}

impl LedgerRow {
    /// Reads a row back.
    ///
    /// # Panics
    /// If it is none.
    pub fn read(bytes: &[u8]) -> Self {
        let field = |at: usize| {
            let bytes = bytes[at * 8..(at + 1) * 8].try_into().expect("eight bytes");
            i64::from_be_bytes(bytes)
        };
        Self { account: field(0) as u64, amount: field(1), after: field(2) }
    }
}

impl Row for LedgerRow {
    const TABLE: &'static str = "ledger";

    fn encode(&self, row: &mut BytesMut, _key: &mut Vec<u8>) -> Result<(), EncodeError> {
        row.put_u64(self.account);
        row.put_i64(self.amount);
        row.put_i64(self.after);
        Ok(())
    }
}

/// The accounts of a group.
#[derive(Debug, Default)]
pub struct LedgerContext(Mutex<Accounts>);

#[derive(Debug, Default)]
struct Accounts {
    balances: HashMap<u64, i64>,
    changed: HashMap<u64, u32>,
    /// What the record in hand has changed, as it was before.
    undo: Option<(u64, i64)>,
}

impl LedgerContext {
    pub(super) fn new(balances: HashMap<u64, i64>) -> Self {
        Self(Mutex::new(Accounts { balances, ..Accounts::default() }))
    }

    /// Adds to an account that was looked up.
    fn add(&self, account: u64, amount: i64) -> i64 {
        let mut accounts = self.lock();
        let balance = accounts.balances.get_mut(&account).expect("it was wanted");
        let before = std::mem::replace(balance, *balance + amount);
        accounts.undo = Some((account, before));
        before + amount
    }

    fn lock(&self) -> MutexGuard<'_, Accounts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Accounts to look up.
#[derive(Debug, Default)]
pub struct LedgerKeys(pub(crate) HashSet<u64>);

impl Keys for LedgerKeys {
    fn unite(&mut self, other: &Self) {
        self.0.extend(&other.0);
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Context for LedgerContext {
    type Keys = LedgerKeys;
    const OWN_WRITES: bool = true;

    fn keep(&self, record: u32, _identity: &[u8]) -> Result<(), EncodeError> {
        let mut accounts = self.lock();
        if let Some((account, _)) = accounts.undo.take() {
            accounts.changed.insert(account, record);
        }
        Ok(())
    }

    fn take_back(&self) {
        let mut accounts = self.lock();
        if let Some((account, before)) = accounts.undo.take() {
            accounts.balances.insert(account, before);
        }
    }

    fn changes(&self) -> RowBuffer {
        let (accounts, mut rows) = (self.lock(), RowBuffer::new(1));
        for (account, record) in &accounts.changed {
            let after = accounts.balances[account];
            let row = LedgerRow { account: *account, amount: 0, after };
            rows.push(0, *record, &row).expect("it is small");
        }
        rows
    }
}

impl Pipeline for Ledger {
    const NAME: &'static str = "ledger";
    type Event<'a> = LedgerEvent;
    type Context = LedgerContext;
    type Rows = (LedgerRow,);

    fn parse<'a>(&self, record: &Record<'a>) -> Result<LedgerEvent, Unparsed> {
        record.decode()
    }

    fn lane_key(&self, event: &LedgerEvent, _: &Record<'_>, lane: &mut Vec<u8>) {
        lane.extend_from_slice(&event.account.to_be_bytes());
    }

    fn keys(&self, event: &LedgerEvent, wanted: &mut LedgerKeys) {
        wanted.0.insert(event.account);
    }

    async fn work(
        &self,
        event: &LedgerEvent,
        known: &LedgerContext,
        out: &mut Out<'_, Self::Rows>,
    ) -> Result<Outcome, Unworked> {
        let LedgerEvent { account, amount } = *event;
        let after = known.add(account, amount.max(1));
        if amount % 10 == 7 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let saved = out.save(&LedgerRow { account, amount, after });
        match amount {
            0 => Err(Reject::new("amount", "0 is rejected").into()),
            -1 => panic!("amount -1"),
            _ => Ok(saved),
        }
    }
}
