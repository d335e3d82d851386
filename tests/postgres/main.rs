//! The store against a real PostgreSQL, named by `LONGSHORE_TEST_DATABASE_URL`. Each test makes a
//! database of its own on that server.

#![allow(clippy::unwrap_used)] // An unwrap of a test is an assertion.

mod acquire;
mod bisection;
mod broker;
mod budget;
mod counting;
mod duplicates;
mod errors;
mod lookups;
mod marks;
mod migrations;
mod outbox;
mod outcome;
mod refusals;
mod returning;
mod saving;
mod support;
mod tls;
