//! What becomes of each kind of payment, without a database.
