//! For tests of the house, of stores and of pipelines: batches made by hand.

mod worked;

pub use worked::{Given, home, work};
