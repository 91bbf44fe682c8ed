//! What the workload says to the world, and where it listens.

use super::WorkloadError;
use bailey_model::network::{ENCLAVE_PORT, MAX_INGRESS, RESERVED_ENCLAVE_PORTS};
use serde::{Deserialize, Serialize};

/// The ways between the workload and its parent that `keep` opens.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// Whether there is a way out: a proxy on the loopback, named in the workload's environment. What
    /// it leads to is up to the enclave's record.
    pub egress: bool,
    /// The TCP ports of the loopback, on which the workload listens, that the parent reaches as vsock
    /// ports of the same numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
}

impl Default for Network {
    fn default() -> Self {
        Self { egress: true, ports: Vec::new() }
    }
}

impl Network {
    /// Whether it is what a manifest without it means.
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn check(&self) -> Result<(), WorkloadError> {
        let cannot =
            |port: &&u16| !ENCLAVE_PORT.contains(*port) || RESERVED_ENCLAVE_PORTS.contains(*port);
        if let Some(found) = self.ports.iter().find(cannot) {
            return Err(WorkloadError::Port { found: *found });
        }
        if self.ports.len() > MAX_INGRESS {
            return Err(WorkloadError::Ports { found: self.ports.len() });
        }
        Ok(())
    }
}
