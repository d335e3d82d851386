//! What the harness feeds by itself: records for its append pipeline, and for the shipped ads.

mod ads;
mod append;

pub use ads::AdsSubject;
pub use append::{AppendSubject, Poisons};
