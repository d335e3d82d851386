//! Stand-ins for tests: of the house for a source, of the outside for the house.

pub mod front;
