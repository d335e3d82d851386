//! Payments: each one is applied once, to the balance that the one before it has left.

use chrono::{DateTime, Utc};
use longshore_actors::error::{Reject, Unworked};
use longshore_actors::pipeline::{Order, Out, Outcome, Pipeline};
use longshore_actors::record::{Record, Unparsed};
use longshore_actors::text::Text;
use serde::Deserialize;
use uuid::Uuid;

use super::tables::{Account, AppliedPayment, Books, Wanted};
use crate::pipelines::read;

/// The pipeline of payments.
#[derive(Clone, Copy, Debug, Default)]
pub struct Payments;

/// What a record says.
#[derive(Debug, Deserialize)]
pub struct Payment<'a> {
    payment_id: Uuid,
    account_id: i64,
    amount_cents: i64,
    #[serde(borrow)]
    currency: Text<'a>,
    #[serde(deserialize_with = "read::time")]
    requested_at: DateTime<Utc>,
}

impl Pipeline for Payments {
    const NAME: &'static str = "payments";
    const TOPICS: &'static [&'static str] = &["payments.transfers"];
    const ORDER: Order = Order::ByKey;
    type Event<'a> = Payment<'a>;
    type Context = Books;
    type Rows = (AppliedPayment,);

    fn parse<'a>(&self, record: &Record<'a>) -> Result<Payment<'a>, Unparsed> {
        let payment: Payment<'a> = record.decode()?;
        if payment.amount_cents == 0 {
            return Err(Unparsed::Reject("amount_cents is 0: nothing to apply".to_owned()));
        }
        Ok(payment)
    }

    fn lane_key(&self, payment: &Payment<'_>, _: &Record<'_>, lane: &mut Vec<u8>) {
        lane.extend_from_slice(payment.account_id.to_string().as_bytes());
    }

    fn keys(&self, payment: &Payment<'_>, wanted: &mut Wanted) {
        wanted.accounts.want(payment.account_id);
        wanted.applied.want(payment.payment_id);
    }

    async fn work(
        &self,
        payment: &Payment<'_>,
        known: &Books,
        out: &mut Out<'_, Self::Rows>,
    ) -> Result<Outcome, Unworked> {
        if known.applied.contains(&payment.payment_id) {
            return Ok(Outcome::Duplicate);
        }
        let account = known.accounts.get(&payment.account_id);
        let account =
            account.ok_or_else(|| payment.reject("unknown account", "it is not there"))?;
        let balance_cents = payment.apply_to(&account)?;
        known.accounts.change(account.id, Account { balance_cents, ..account });
        Ok(out.save(&AppliedPayment {
            payment_id: payment.payment_id,
            account_id: payment.account_id,
            amount_cents: payment.amount_cents,
            balance_after_cents: balance_cents,
            requested_at: payment.requested_at,
        }))
    }
}

impl Payment<'_> {
    /// What is on `account` after it.
    pub(super) fn apply_to(&self, account: &Account) -> Result<i64, Reject> {
        let (amount, balance) = (self.amount_cents, account.balance_cents);
        // A `char(3)` is filled up with blanks.
        if account.currency.trim_end() != &*self.currency {
            let kept = format!("it is kept in {}, not in {}", account.currency, self.currency);
            return Err(self.reject("other currency", &kept));
        }
        let after = balance.checked_add(amount).ok_or_else(|| {
            self.reject("amount overflows", &format!("{balance} and {amount} are too much"))
        })?;
        if after < 0 {
            let missing = format!("{balance} is on it, and {amount} was asked for");
            return Err(self.reject("overdrawn", &missing));
        }
        Ok(after)
    }

    fn reject(&self, reason: &'static str, what: &str) -> Reject {
        let (account, payment) = (self.account_id, self.payment_id);
        Reject::new(reason, format!("account {account}: {what} (payment {payment})"))
    }
}
