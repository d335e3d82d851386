//! Payments: what records change is read, worked and saved in one transaction.

use std::fmt::Write as _;

use super::{BoxedFeed, Mode, Reference, Shape, Table};
use crate::feed::{PaymentsFeed, PaymentsOptions, PaymentsReference, PaymentsShares};

/// See the module.
pub(super) struct PaymentsMode;

fn accounts(shape: &Shape) -> u32 {
    u32::try_from(shape.context).unwrap_or(u32::MAX).max(2)
}

impl Mode for PaymentsMode {
    fn name(&self) -> &'static str {
        "payments"
    }

    fn feed(&self, shape: &Shape, partitions: i32) -> BoxedFeed {
        let shares = PaymentsShares {
            duplicate: shape.repeats,
            malformed: shape.malformed,
            overdrawn: shape.refused,
            ..PaymentsShares::NONE
        };
        let accounts = accounts(shape);
        let options =
            PaymentsOptions { partitions, accounts, shares, ..PaymentsOptions::default() };
        BoxedFeed::new(PaymentsFeed::with(shape.seed, options), shape)
    }

    fn table(&self) -> Option<Table> {
        Some(Table {
            name: "payments.payments",
            reset: "truncate payments.payments, payments.accounts",
            // The balances go back to what they were.
            resets_reference: true,
            of_a_run: "true",
            preload: None,
            left_out: Some("the accounts' balances, which the service updates besides"),
        })
    }

    fn reference(&self, shape: &Shape) -> Vec<Reference> {
        let mut rows = String::new();
        for row in PaymentsReference::generate(shape.seed, accounts(shape)).accounts {
            // Writing into a string cannot fail.
            let _ = writeln!(rows, "{}\t{}\t{}", row.id, row.currency, row.balance_cents);
        }
        vec![Reference { target: "payments.accounts (id, currency, balance_cents)", rows }]
    }
}
