//! What must be in the books: every record is accounted for once, each account's payments are a
//! chain of balances in an order that keeps to the partitions' order, and nothing is lost.
//!
//! In which order payments of several partitions were applied is open; the chain of balances tells.

use std::collections::{BTreeMap, HashMap, HashSet};

use uuid::Uuid;

use super::super::database::Database;
use super::records::{Accounts, Sent, What};

/// How many differences are told; the rest is counted.
const TOLD: usize = 12;

/// A row of `payments.payments`.
#[derive(Clone, Copy, Debug)]
struct Row {
    id: Uuid,
    account: i64,
    amount: i64,
    after: i64,
}

/// Where a record lies.
type Place = (i32, i64);

/// The books as they are, and the records that they are made from.
pub(crate) struct Books<'a> {
    sent: Vec<&'a Sent>,
    rows: HashMap<Uuid, Row>,
    parked: BTreeMap<Place, String>,
    balances: HashMap<i64, i64>,
    /// What others have added to accounts.
    added: HashMap<i64, i64>,
    found: Vec<String>,
}

impl<'a> Books<'a> {
    /// Panics unless the books are what must come of `sent`, and of what others have `added`.
    pub(crate) fn check(database: &Database, sent: &'a [Sent], added: &[(i64, i64)]) {
        let mut books = Self::read(database, sent, added);
        books.check_records();
        books.check_accounts();
        let found = books.found;
        assert!(
            found.is_empty(),
            "{} differences in the books:\n  {}",
            found.len(),
            found[..found.len().min(TOLD)].join("\n  ")
        );
    }

    fn read(database: &Database, sent: &'a [Sent], added: &[(i64, i64)]) -> Self {
        let mut in_order: Vec<&Sent> = sent.iter().collect();
        in_order.sort_by_key(|one| (one.partition, one.offset));
        let rows = database.query(
            "select payment_id::text, account_id, amount_cents, balance_after_cents
             from payments.payments",
            &[],
        );
        let row = |row: &postgres::Row| Row {
            id: row.get::<_, &str>(0).parse().expect("a uuid"),
            account: row.get(1),
            amount: row.get(2),
            after: row.get(3),
        };
        let parked = "select partition, \"offset\", state, reason from longshore.parked_records";
        let parked = database.query(parked, &[]);
        let parked = parked.iter().map(|row| {
            let (state, reason): (&str, &str) = (row.get(2), row.get(3));
            ((row.get(0), row.get(1)), format!("{state}: {reason}"))
        });
        let balances = database.query("select id, balance_cents from payments.accounts", &[]);
        let mut sums = HashMap::new();
        for (account, amount) in added {
            *sums.entry(*account).or_insert(0) += amount;
        }
        Self {
            sent: in_order,
            rows: rows.iter().map(row).map(|row| (row.id, row)).collect(),
            parked: parked.collect(),
            balances: balances.iter().map(|row| (row.get(0), row.get(1))).collect(),
            added: sums,
            found: Vec::new(),
        }
    }

    /// Each record is saved, a duplicate of one that was saved before it, or parked for the right
    /// reason.
    fn check_records(&mut self) {
        let (mut saved, mut found) = (HashSet::new(), Vec::new());
        let mut places: HashSet<Place> = self.parked.keys().copied().collect();
        for one in &self.sent {
            let place = (one.partition, one.offset);
            let parked = self.parked.get(&place).map(String::as_str);
            places.remove(&place);
            let wanted = match one.what {
                What::Tombstone => None,
                What::Malformed => Some("dead: malformed"),
                What::Payment { id, .. } if saved.contains(&id) => None,
                What::Payment { account, .. } if !self.balances.contains_key(&account) => {
                    Some("dead: unknown account")
                }
                What::Payment { currency: "CHF", .. } => Some("dead: other currency"),
                // Whether it was overdrawn depends on the order, which the chain tells.
                What::Payment { .. } if parked.is_some() => Some("dead: overdrawn"),
                What::Payment { id, .. } => {
                    saved.insert(id);
                    None
                }
            };
            if parked != wanted {
                found.push(format!("{one:?} is parked as {parked:?}, not as {wanted:?}"));
            }
        }
        found.extend(places.iter().map(|place| format!("{place:?} must not be parked")));
        let missing = saved.iter().filter(|id| !self.rows.contains_key(*id));
        found.extend(missing.map(|id| format!("payment {id} is missing")));
        let extra = self.rows.keys().filter(|id| !saved.contains(*id));
        found.extend(extra.map(|id| format!("payment {id} must not be there")));
        self.found.append(&mut found);
    }

    fn check_accounts(&mut self) {
        let mut by_account: HashMap<i64, Vec<Row>> = HashMap::new();
        for row in self.rows.values() {
            by_account.entry(row.account).or_default().push(*row);
        }
        let mut by_records: HashMap<i64, Vec<(&Sent, Uuid, i64)>> = HashMap::new();
        for one in &self.sent {
            if let What::Payment { id, account, amount, .. } = one.what {
                by_records.entry(account).or_default().push((one, id, amount));
            }
        }
        for (account, balance) in self.balances.clone() {
            let rows = by_account.remove(&account).unwrap_or_default();
            let records = by_records.remove(&account).unwrap_or_default();
            let sum: i64 = rows.iter().map(|row| row.amount).sum();
            let added = self.added.get(&account).copied();
            let wanted = Accounts::initial(account) + sum + added.unwrap_or(0);
            if balance != wanted {
                self.found.push(format!("account {account} has {balance}, not {wanted}"));
            }
            // With others adding to it, the chain has gaps that nobody wrote down.
            if added.is_none()
                && let Err(error) = self.check_chain(account, &rows, &records)
            {
                self.found.push(format!("account {account}: {error}"));
            }
        }
    }

    /// Follows the balances from the first one on.
    fn check_chain(
        &self,
        account: i64,
        rows: &[Row],
        records: &[(&Sent, Uuid, i64)],
    ) -> Result<(), String> {
        let mut by_before: HashMap<i64, Row> = HashMap::new();
        for row in rows {
            if by_before.insert(row.after - row.amount, *row).is_some() {
                return Err(format!("two payments follow {}", row.after - row.amount));
            }
        }
        let (mut at, mut places) = (Accounts::initial(account), HashMap::new());
        let mut balances = vec![at];
        for place in 0..rows.len() {
            let Some(row) = by_before.remove(&at) else {
                return Err(format!("no payment follows {at}, the balance after {place} of them"));
            };
            places.insert(row.id, place);
            at = row.after;
            balances.push(at);
        }
        Self::check_order(records, &places, &balances, &self.parked)
    }

    /// Each partition's payments are in its order, and what was overdrawn was so in its turn.
    fn check_order(
        records: &[(&Sent, Uuid, i64)],
        places: &HashMap<Uuid, usize>,
        balances: &[i64],
        parked: &BTreeMap<Place, String>,
    ) -> Result<(), String> {
        let partitions: HashSet<i32> = records.iter().map(|(one, ..)| one.partition).collect();
        for partition in partitions {
            let own: Vec<_> =
                records.iter().filter(|(one, ..)| one.partition == partition).collect();
            let mut passed = 0;
            for (nth, (one, id, amount)) in own.iter().enumerate() {
                if !parked.contains_key(&(one.partition, one.offset)) {
                    match places.get(id) {
                        // A duplicate of one that was passed.
                        Some(place) if *place < passed => {}
                        Some(place) => passed = place + 1,
                        None => return Err(format!("{one:?} is nowhere")),
                    }
                    continue;
                }
                let is_saved = |(later, id, _): &&&(&Sent, Uuid, i64)| {
                    !parked.contains_key(&(later.partition, later.offset))
                        && places.get(id).is_some_and(|place| *place >= passed)
                };
                let next = own[nth..].iter().find(is_saved).and_then(|(_, id, _)| places.get(id));
                let until = next.copied().unwrap_or(balances.len() - 1);
                let said = &parked[&(one.partition, one.offset)];
                let mut meant = balances[passed..=until].iter();
                if said == "dead: overdrawn" && !meant.any(|balance| balance + amount < 0) {
                    return Err(format!("{one:?} was not overdrawn"));
                }
            }
        }
        Ok(())
    }
}
