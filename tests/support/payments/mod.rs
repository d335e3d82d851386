//! The same for payments: what is sent, what it means, and what must be in the books afterwards.

mod books;
mod records;

pub(crate) use books::Books;
pub(crate) use records::{Accounts, PaymentMix, PaymentRecords, Sent, What};
