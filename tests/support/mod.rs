//! The kit of the promises: real servers, an independent idea of what must come out, and the
//! service as its users have it, a program started from outside. Nothing in here calls the
//! product's own code.
#![allow(dead_code, reason = "each promise uses its part of the kit")]

pub(crate) mod database;
pub(crate) mod expect;
pub(crate) mod http;
pub(crate) mod landing;
pub(crate) mod model;
pub(crate) mod own_servers;
pub(crate) mod payments;
pub(crate) mod producers;
pub(crate) mod records;
pub(crate) mod reference;
pub(crate) mod servers;
pub(crate) mod service;
pub(crate) mod spelling;
pub(crate) mod stage;
pub(crate) mod topics;
pub(crate) mod wait;
