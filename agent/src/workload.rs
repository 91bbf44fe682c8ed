//! What the workloads of running enclaves print, what becomes of them, and how they are.
//!
//! ```text
//! supervisor --what runs--> listen --> a tail and a probe for each enclave, over vsock port 5006
//!      ^                 |                |--> journal
//!      |                 +--> a console --+--> CloudWatch Logs, when configured
//!      +-- findings (health, end, last lines of the console)
//! ```
//!
//! # Guarantees
//! - Nothing here holds up the supervisor or an enclave: `keep` never waits for a reader, and counts what a
//!   slow one misses.
//! - No more is read in a second than journald takes, so that a workload that prints without end cannot flood
//!   the journal; what is lost is told.
//!
//! # Caveats
//! All of it is what an enclave says through its parent. It helps people; no decision about attestation
//! reads it.

mod console;
mod events;
mod listen;
mod position;
mod probe;
mod ship;
mod tail;
#[cfg(test)]
mod tests;

pub use events::Line;
pub use listen::listen;
pub use ship::{Shipper, ship};

use bailey_model::{
    EnclaveId, Generation,
    hosts::{RunningEnclave, WorkloadHealth},
    network::{Destination, IngressPort},
};
use std::collections::BTreeMap;
use tokio::sync::watch;

/// An enclave that runs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Running {
    /// Whose.
    pub enclave_id: EnclaveId,
    /// Which accepted request.
    pub generation: Generation,
    /// The enclave.
    pub enclave: RunningEnclave,
    /// What it may reach.
    pub egress: Vec<Destination>,
    /// Where it is reached.
    pub ingress: Vec<IngressPort>,
    /// Whether its console can be read.
    pub debug: bool,
}

/// What was found out about the workload of one enclave.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Finding {
    /// What its image's probe found last.
    pub health: Option<WorkloadHealth>,
    /// How it ended for good.
    pub end: Option<End>,
    /// What the console of an enclave in debug mode said last.
    pub console: Vec<String>,
}

/// How a workload ended that is not started again inside of its enclave.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct End {
    /// In words.
    pub how: String,
    /// Whether it did what it was to do.
    pub succeeded: bool,
}

/// What was found out, by nitro-cli's id of the enclave.
pub type Findings = BTreeMap<String, Finding>;

/// How the supervisor speaks with those who listen to workloads.
#[derive(Clone, Debug)]
pub struct Workloads {
    /// What runs.
    pub running: watch::Sender<Vec<Running>>,
    /// What was found out about it.
    pub findings: watch::Receiver<Findings>,
}

impl Workloads {
    /// Both ends: the supervisor's, and those for [`listen()`].
    #[must_use]
    pub fn channel() -> (Self, watch::Receiver<Vec<Running>>, watch::Sender<Findings>) {
        let (running, to_watch) = watch::channel(Vec::new());
        let (found, findings) = watch::channel(Findings::new());
        (Self { running, findings }, to_watch, found)
    }

    /// For a host whose workloads nobody listens to.
    #[must_use]
    pub fn unwatched() -> Self {
        Self::channel().0
    }
}
