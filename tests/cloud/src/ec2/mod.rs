//! An EC2 simulator: the calls that Bailey makes, as EC2 answers them.
//!
//! It speaks the Query protocol on loopback, honours client tokens, takes instances through their
//! states over time and, on demand, goes wrong in the ways in which EC2 does. A running instance
//! is a [`crate::host::Host`]. Signatures are not checked, but a request must carry one.
//!
//! Tests steer it through `/_sim/…` on the same listener; [`Control`] is the client for that.

mod actions;
mod client;
mod control;
mod fault;
mod filter;
mod instance;
mod launch_data;
mod query;
mod refusal;
mod region;
mod server;
mod simulator;
mod subnets;
mod template;
mod view;
mod xml;

pub use client::{Control, ControlError, QueryAnswer};
pub use fault::{Fault, FaultKind};
pub use instance::{InstanceState, StateChange};
use launch_data::LaunchData;
pub use query::Query;
pub use refusal::Refusal;
pub use region::Place;
pub use server::serve;
pub use simulator::{Simulator, SimulatorOptions};
pub use view::{InstanceView, Settings, SimulationView};
