//! Explores the lifecycle: the real transition function in a world in which everything that may
//! happen does, in every order.
//!
//! The world holds one record, its entry in the ledger, EC2, the hosts' items and the reports, and
//! coordinators that read, decide by what they read, and act later, when it may no longer be so. What
//! a coordinator may do to the world is what the tables and EC2 would let it do: conditional writes,
//! tokens that launch once. [`explore()`] goes through every order of events within a [`Scope`];
//! [`simulate()`] takes one random way after the other, further than that. Both hold the
//! [rules](rules::Rule) against every state, and let states come to rest.

pub mod action;
mod effects;
pub mod explore;
mod hosts;
pub mod rules;
mod shared;
pub mod simulate;
pub mod world;

pub use explore::explore;
pub use simulate::simulate;
pub use world::{Scope, World};
