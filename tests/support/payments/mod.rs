//! The same for payments: what is sent, what it means, and what must be in the books afterwards.

pub(crate) mod books;
pub(crate) mod records;
