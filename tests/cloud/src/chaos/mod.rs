//! Random schedules on real processes: requests, rewrites, kills, faults on the wire, until the world
//! calms down; then everything must have come to rest, and nothing may be left.
//!
//! | module | holds |
//! | --- | --- |
//! | `schedule` | what happens in a schedule |
//! | `agents` | one deploy and destroy after the other, with the agent killed at random instants |
//! | `kills` | one deploy and destroy after the other, with the coordinator killed at each of its writes |
//! | `web_app` | a web app, and what it remembers of its writes |
//! | `seen` | everything that can be seen of a cloud from outside |
//! | `check` | what must hold of that, as pure functions |
//! | `rest` | waiting until it does, and that it stays so |
//! | `reports` | an enclave's history of reports, verified as an auditor does |
//!
//! A schedule is what its seed makes it; how processes interleave is theirs.

mod agents;
mod check;
mod kills;
mod reports;
mod rest;
mod schedule;
mod seen;
mod web_app;

use crate::{ec2::ControlError, local::CloudError};
pub use agents::{AgentKills, kill_agents};
pub use check::{Kind, Violation};
pub use kills::{Kill, Write, kill, writes};
pub use rest::{LIMIT, Rest, comes_to_rest};
pub use schedule::{Schedule, settings};
use std::io;
pub use web_app::WebApp;

/// Why a schedule could not be gone through.
#[derive(Debug, thiserror::Error)]
pub enum ChaosError {
    /// The local cloud does not do what it is asked.
    #[error("the local cloud fails")]
    Cloud(#[source] CloudError),
    /// The EC2 simulator does not do what it is asked.
    #[error("the EC2 simulator fails")]
    Control(#[source] ControlError),
    /// An entry of the ledger is not what it should be.
    #[error("an entry of the ledger cannot be read")]
    Entry(#[source] serde_json::Error),
    /// The local cloud has no wire between our programs and AWS.
    #[error("the local cloud was started without a wire that can go wrong")]
    NoWire,
    /// A history could not be given to the command line.
    #[error("a history of reports cannot be checked")]
    Reports(#[source] io::Error),
}

/// What was found, over all schedules.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// How many schedules came to their end.
    pub schedules: u64,
    /// Records that were deployed at some rest.
    pub deployed: u64,
    /// Reports that were verified as parts of their histories.
    pub reports: u64,
    /// What is wrong.
    pub violations: Vec<Violation>,
}

impl Findings {
    /// How many violations there are of a kind.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        self.violations.iter().filter(|violation| violation.kind == kind).count()
    }

    /// Adds what others found.
    pub fn extend(&mut self, others: Self) {
        self.schedules += others.schedules;
        self.deployed += others.deployed;
        self.reports += others.reports;
        self.violations.extend(others.violations);
    }
}
