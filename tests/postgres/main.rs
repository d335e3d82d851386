//! The store against a real PostgreSQL, named by `LONGSHORE_TEST_DATABASE_URL`. Each test makes a
//! database of its own on that server.

mod acquire;
mod duplicates;
mod lookups;
mod migrations;
mod outcome;
mod refusals;
mod saving;
mod support;
