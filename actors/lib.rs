//! The house: actors that move batches of records from a source into a store, in order, bounded by
//! tickets, each batch saved together with its offset. No Kafka and no SQL in here: both are ports.
//!
//! ```text
//! source ▶ PartitionActor ▶ ContextLoader ▶ WorkerPool ▶ WorkerActor* ▶ PersisterActor ▶ store
//!          one a partition  one query       parts by     user code      one transaction:
//!          place, fence,    a group         lane         in parallel    fence + rows +
//!          records in hand                                              parked + offset
//!                ▲                                                            │
//!                └──────────── BatchSaved / BatchGivenUp ◀────────────────────┤
//! source ◀── CommitBoard (last value a partition, for lag tools only) ◀───────┘
//! ```
//!
//! Read it as a record would: [`door`] (how it comes in, under a [`ticket`]), [`partition`],
//! [`context`], [`workers`], [`worker`] ([`in_flight`]: records
//! whose work waits), [`persister`]; [`batch`] has the messages in that order,
//! [`topology`] wires them; [`pace`] says how fast they go; [`parked`] says how records come back,
//! [`publisher`] how dead ones and messages go out. A user's code is behind [`pipeline`]; [`ports`]
//! is what the house needs from outside; [`supervise`] says what happens when something dies.

pub mod arena;
pub mod batch;
pub mod caution;
pub mod conservation;
pub mod context;
pub mod custody;
pub mod decoded;
pub mod door;
pub mod error;
pub mod faults;
pub mod fence;
pub mod format;
pub mod front;
pub mod gate;
pub mod health;
pub mod in_flight;
pub mod lanes;
pub mod message;
pub mod notices;
pub mod own;
pub mod own_writes;
pub mod pace;
pub mod parcel;
pub mod parked;
pub mod partition;
pub mod persister;
pub mod pipeline;
pub mod ports;
pub mod publisher;
pub mod record;
pub mod rows;
pub mod stage;
pub mod stages;
pub mod supervise;
pub mod text;
pub mod ticket;
pub mod topology;
pub mod trip;
pub mod worker;
pub mod workers;

mod acquirer;
mod chunk_work;
mod decode;
mod desk;
mod group;
mod health_actor;
mod held;
mod house;
mod nearby;
mod put_off;
mod questions;
mod record_work;
mod register;
mod relay;
mod supervisor;
mod threads;
mod turns;
mod watcher;

#[cfg(feature = "testing")]
pub mod testing;
