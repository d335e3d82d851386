//! What payments read and change, and the rows they save.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use uuid::Uuid;

use crate::{own_writes, row};

/// The tables as diesel knows them.
#[allow(missing_docs)]
pub mod schema {
    diesel::table! {
        payments.accounts (id) {
            id -> BigInt,
            currency -> Bpchar,
            balance_cents -> BigInt,
        }
    }

    diesel::table! {
        payments.payments (payment_id) {
            payment_id -> Uuid,
            account_id -> BigInt,
            amount_cents -> BigInt,
            balance_after_cents -> BigInt,
            requested_at -> Timestamptz,
        }
    }
}

use schema::{accounts, payments};

row! {
    /// An account.
    #[derive(Clone, Debug, Queryable, Selectable)]
    #[diesel(table_name = accounts)]
    pub struct Account in accounts, key (id) {
        /// Its number.
        pub id: i64,
        /// What it is kept in.
        pub currency: String,
        /// What is on it, in cents.
        pub balance_cents: i64,
    }
}

own_writes! {
    /// What a group of payments reads and changes.
    pub struct Books, keys Wanted {
        locked {
            /// The accounts that the group names.
            pub accounts: i64 => Account in accounts::id sets (balance_cents),
        }
        saved {
            /// The payments that are applied already.
            pub applied: Uuid in payments::payment_id,
        }
    }
}

row! {
    /// A payment that was applied.
    #[derive(Debug)]
    pub struct AppliedPayment in payments, key (payment_id) {
        /// Its id: a second payment of the same id is a duplicate.
        pub payment_id: Uuid,
        /// The account it was applied to.
        pub account_id: i64,
        /// What came (or went, below 0), in cents.
        pub amount_cents: i64,
        /// What was on the account then, in cents.
        pub balance_after_cents: i64,
        /// When it was asked for.
        pub requested_at: DateTime<Utc>,
    }
}
