//! Own writes of a [`MemoryStore`]: accounts that a group locks, and its open transaction.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hashbrown::{HashMap, HashSet};

use super::ledger::{Ledger, LedgerContext, LedgerKeys, LedgerRow};
use super::store::{Content, MemoryStore};
use super::weather::Fault;
use crate::batch::{Batch, WorkedBatch};
use crate::error::{Reject, SaveError};
use crate::ports::{BatchReport, Opened, OwnWrites, SessionId};
use crate::record::{Offset, PartitionId};
use crate::rows::RowBuffer;

/// How long to wait for accounts that another group has locked, in milliseconds.
const LOCK_WAIT_MS: u32 = 2000;

/// The accounts of a store.
#[derive(Default)]
pub(super) struct Accounts {
    balances: HashMap<u64, i64>,
    /// The session of the group that has each locked.
    locked: HashMap<u64, usize>,
    /// Sessions with an open transaction.
    open: HashSet<usize>,
    /// Records that the store refuses.
    refused: HashSet<(PartitionId, Offset)>,
}

impl Accounts {
    pub(super) fn end(&mut self, session: SessionId) {
        self.open.remove(&session.0);
        self.locked.retain(|_, by| *by != session.0);
    }

    /// Locks what `keys` name, if nobody has any of it.
    fn try_lock(&mut self, session: SessionId, keys: &LedgerKeys) -> Option<LedgerContext> {
        if keys.0.iter().any(|account| self.locked.contains_key(account)) {
            return None;
        }
        self.open.insert(session.0);
        self.locked.extend(keys.0.iter().map(|account| (*account, session.0)));
        let balance = |account: &u64| (*account, *self.balances.entry(*account).or_insert(0));
        Some(LedgerContext::new(keys.0.iter().map(balance).collect()))
    }

    /// What the store refuses of a batch that is to be saved.
    fn refuses(&self, worked: &WorkedBatch) -> Vec<(u32, Reject)> {
        let (arena, partition) = (&worked.batch.parcel.arena, worked.batch.fence.partition());
        let rows = worked.chunks.iter().flat_map(|chunk| {
            let table = chunk.rows.table(0);
            (0..table.len()).map(|row| table.get(row).record)
        });
        let is_refused = |record: &u32| {
            let offset = arena.get(*record as usize).offset;
            self.refused.contains(&(partition.clone(), offset))
        };
        rows.filter(is_refused).map(|record| (record, Reject::new("refused", "ordered"))).collect()
    }
}

impl MemoryStore {
    /// Refuses this record's row from here on.
    pub fn refuse(&self, partition: &PartitionId, offset: Offset) {
        self.lock().accounts.refused.insert((partition.clone(), offset));
    }

    /// Adds to an account as another program would, unless a group has it locked.
    pub fn add_to_account(&self, account: u64, amount: i64) -> bool {
        let accounts = &mut self.lock().accounts;
        let is_free = !accounts.locked.contains_key(&account);
        if is_free {
            *accounts.balances.entry(account).or_insert(0) += amount;
        }
        is_free
    }

    /// What is on an account.
    pub fn balance(&self, account: u64) -> i64 {
        self.lock().accounts.balances.get(&account).copied().unwrap_or(0)
    }

    /// See [`crate::ports::Store::save_open`].
    pub(super) async fn save_group(
        &self,
        session: SessionId,
        group: &[WorkedBatch],
        changes: &RowBuffer,
    ) -> Result<Vec<BatchReport>, SaveError> {
        self.weather.answer_time().await;
        let mut content = self.lock();
        let is_open = content.accounts.open.contains(&session.0);
        let answer = if is_open {
            let fault = self.weather.save_fault();
            content.save_group(group, changes, fault)
        } else {
            Ok(group.iter().map(|_| BatchReport::RolledBack).collect())
        };
        content.accounts.end(session);
        answer
    }
}

impl Content {
    fn save_group(
        &mut self,
        group: &[WorkedBatch],
        changes: &RowBuffer,
        fault: Option<Fault>,
    ) -> Result<Vec<BatchReport>, SaveError> {
        let reports = self.save(group, false);
        let is_saved = |report: &BatchReport| matches!(report, BatchReport::Saved(_));
        let refused: Vec<_> = group.iter().map(|worked| self.accounts.refuses(worked)).collect();
        if !reports.iter().all(is_saved) || refused.iter().any(|refused| !refused.is_empty()) {
            let report = |(report, refused): (BatchReport, Vec<_>)| match report {
                BatchReport::Saved(_) if refused.is_empty() => BatchReport::RolledBack,
                BatchReport::Saved(_) => BatchReport::Refused(refused),
                report => report,
            };
            return Ok(reports.into_iter().zip(refused).map(report).collect());
        }
        let settled = reports.iter().map(|report| match report {
            BatchReport::Saved(settled) => Some(*settled),
            _ => None,
        });
        let unheard =
            SaveError::Unknown { message: "ordered".to_owned(), settled: settled.collect() };
        match fault {
            Some(Fault::Retry) => Err(SaveError::Retry("ordered".to_owned())),
            Some(Fault::Stop) => Err(SaveError::Stop("ordered".to_owned())),
            Some(Fault::RolledBackUnheard) => Err(unheard),
            fault => {
                let reports = self.save(group, true);
                let changed = changes.table(0);
                for row in (0..changed.len()).map(|row| LedgerRow::read(changed.get(row).bytes)) {
                    self.accounts.balances.insert(row.account, row.after);
                }
                if fault.is_none() { Ok(reports) } else { Err(unheard) }
            }
        }
    }
}

impl OwnWrites<Ledger> for MemoryStore {
    fn open<'a>(
        &'a self,
        session: SessionId,
        group: &'a [Arc<Batch>],
        keys: &'a LedgerKeys,
    ) -> BoxFuture<'a, Result<Opened<LedgerContext>, SaveError>> {
        async move {
            self.weather.answer_time().await;
            if self.weather.query_fault() == Some(Fault::Retry) {
                return Err(SaveError::Retry("refused".to_owned()));
            }
            for _ in 0..LOCK_WAIT_MS {
                {
                    let mut content = self.lock();
                    let left_out: Vec<_> = group.iter().map(|b| content.left_out(b)).collect();
                    if left_out.iter().any(Option::is_some) {
                        return Ok(Opened::LeftOut(left_out));
                    }
                    if let Some(context) = content.accounts.try_lock(session, keys) {
                        group.iter().for_each(|batch| batch.begin());
                        return Ok(Opened::Open(context));
                    }
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Err(SaveError::Retry("accounts are locked".to_owned()))
        }
        .boxed()
    }
}
