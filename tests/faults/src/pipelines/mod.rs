//! The pipelines of the harness's own program under test, where a doubled effect and a broken order
//! can be seen.

mod append;
mod tables;

pub use append::{Append, Poison, Said};
pub use tables::Appended;
