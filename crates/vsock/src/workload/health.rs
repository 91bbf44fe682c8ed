//! How the workload is.

use serde::{Deserialize, Serialize};

/// What the probe that the image configures found.
///
/// On the wire, inside of a response:
/// `{"status":"healthy","detail":"HTTP status 200","at_ms":1700000000000}`. The status is what `keep`,
/// measured code, saw; the detail may hold text of the workload's and is for people.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Health {
    /// The outcome.
    pub status: HealthStatus,
    /// What was seen, in words, at most [`MAX_REASON_BYTES`](super::MAX_REASON_BYTES) bytes.
    pub detail: String,
    /// When the probe ended, by the enclave's own clock, in milliseconds since 1970. An answer can be
    /// a moment old: parents that ask at the same time share a probe.
    pub at_ms: u64,
}

/// The outcome of a probe.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// The workload answered as its image says.
    Healthy,
    /// The image has no workload, or configures no probe for it.
    NotConfigured,
    /// The workload did not answer, not in time, or otherwise than its image says.
    Unhealthy,
}
