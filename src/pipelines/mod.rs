//! The pipelines that ship with Longshore. Each is a folder: `pipeline.rs` says what a record means
//! and what becomes of it (pure), `tables.rs` what is looked up and which rows are saved (SQL), and
//! `migrations/<name>/` makes the tables. [`landing`] is configuration alone: its table is known
//! when the program runs, so that it has [`landing::pipeline`] and a look at the table's columns.

pub mod ads;
pub mod landing;
pub mod payments;
pub mod read;
