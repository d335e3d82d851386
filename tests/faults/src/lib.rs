//! The fault harness: breaks real servers, links and processes under real instances of a Longshore
//! program, while a feed goes on, and checks afterwards that every record was settled exactly once.
//!
//! # How to use it
//! `scripts/soak --faults 50 --seed 7` runs it on the pipelines that it brings
//! ([`pipelines`]) and on the shipped one for ads. For a pipeline of your own, write a [`Subject`]
//! (what to feed, and what must come of it), and give it to [`run::run`] with a [`run::Plan`] that
//! names your program. `docs/faults.md` walks through one.
//!
//! # How it is made
//! A run has its own PostgreSQL and its own Kafka ([`servers`]), and one to three instances
//! ([`instance`]), each with a link of its own to the database and to every broker, through a proxy
//! ([`proxy`]). The [`feed`] goes to the brokers directly and keeps the model: what was delivered,
//! and what must become of it. A [`schedule`] is drawn from a seed and carried out ([`conduct`]);
//! when the last fault is healed and the last record settled, [`check`] compares the database with
//! the model.

pub mod check;
pub mod conduct;
pub mod database;
pub mod feed;
pub mod instance;
pub mod measure;
pub mod pipelines;
pub mod proxy;
pub mod report;
pub mod run;
pub mod schedule;
pub mod servers;
pub mod stage;
mod subject;
pub mod subjects;
pub mod threads;
pub mod wait;

pub use subject::{Becomes, Delivered, Draft, Subject};
