//! What the harness feeds by itself: records for its append pipeline, and for the shipped ones.

mod ads;
mod append;
mod payments;

pub use ads::AdsSubject;
pub use append::{AppendSubject, Poisons};
pub use payments::PaymentsSubject;
