//! What the control interface shows of the simulation.

use super::{InstanceState, StateChange};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The whole simulation.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct SimulationView {
    /// Every instance that was ever launched.
    pub instances: Vec<InstanceView>,
    /// How many instances were ever launched.
    pub launches: u64,
    /// How many calls of each action arrived, refused ones too.
    pub calls: BTreeMap<String, u64>,
    /// How many calls wait to be released.
    pub held: u64,
}

impl SimulationView {
    /// The instances that are neither gone nor about to be.
    pub fn live(&self) -> impl Iterator<Item = &InstanceView> {
        self.instances.iter().filter(|instance| !instance.state.is_ending())
    }

    /// How often an enclave was asked to start, on all instances together.
    #[must_use]
    pub fn enclave_launches(&self) -> u64 {
        self.instances.iter().map(|instance| instance.enclave_launches).sum()
    }
}

/// One instance.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct InstanceView {
    /// The instance's id.
    pub id: String,
    /// The state that it is in, without the lag that the EC2 calls show.
    pub state: InstanceState,
    /// Every state that it was in, from its launch on.
    pub history: Vec<StateChange>,
    /// The token that it was launched with.
    pub client_token: Option<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Its type.
    pub instance_type: String,
    /// The subnet that it is in.
    pub subnet_id: String,
    /// The agent's process, while one runs.
    pub agent_pid: Option<u32>,
    /// How often the agent was started.
    pub agent_starts: u64,
    /// How often `nitro-cli run-enclave` was called on it.
    pub enclave_launches: u64,
    /// The address of its metadata service, while it runs.
    pub imds: Option<String>,
}

impl InstanceView {
    /// When it was launched, in the order of all instances' changes.
    #[must_use]
    pub fn launched(&self) -> u64 {
        self.history.first().map_or(u64::MAX, |change| change.order)
    }

    /// When it began to end for good, in the order of all instances' changes; none while it has not.
    #[must_use]
    pub fn ended(&self) -> Option<u64> {
        self.history.iter().find(|change| change.state.is_ending()).map(|change| change.order)
    }
}

/// What can be changed while the simulation runs; what is absent stays as it is.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// How long an instance is `pending`, in milliseconds.
    #[serde(default)]
    pub pending_ms: Option<u64>,
    /// By how much `DescribeInstances` lags behind, in milliseconds.
    #[serde(default)]
    pub describe_lag_ms: Option<u64>,
    /// The zones that have no capacity for a launch.
    #[serde(default)]
    pub zones_without_capacity: Option<Vec<String>>,
}
