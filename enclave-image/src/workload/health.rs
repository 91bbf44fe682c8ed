//! How it is found out whether the workload is healthy.

use super::WorkloadError;
use serde::{Deserialize, Serialize};

/// The longest deadline of a probe, in milliseconds.
pub(super) const MAX_TIMEOUT_MS: u32 = 30_000;

/// What `keep` does when the parent asks how the workload is: `{"http":{"port":80,"path":"/"},
/// "timeout_ms":2000}` or `{"tcp":{"port":80}}`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Health {
    /// What is tried.
    #[serde(flatten)]
    pub probe: Probe,
    /// How long the whole probe may take, in milliseconds.
    #[serde(default = "timeout_ms")]
    pub timeout_ms: u32,
}

/// A probe of the workload, on the enclave's loopback.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// A GET that has to be answered with a status from 200 to 399.
    Http {
        /// The TCP port on 127.0.0.1.
        port: u16,
        /// The path asked for.
        path: String,
    },
    /// A connection that has to be accepted.
    Tcp {
        /// The TCP port on 127.0.0.1.
        port: u16,
    },
}

fn timeout_ms() -> u32 {
    2_000
}

impl Health {
    /// A probe with the usual deadline.
    #[must_use]
    pub fn new(probe: Probe) -> Self {
        Self { probe, timeout_ms: timeout_ms() }
    }

    pub(super) fn check(&self) -> Result<(), WorkloadError> {
        let (Probe::Http { port, .. } | Probe::Tcp { port }) = &self.probe;
        if *port == 0 || !(1..=MAX_TIMEOUT_MS).contains(&self.timeout_ms) {
            return Err(WorkloadError::ProbeRange);
        }
        match &self.probe {
            Probe::Http { path, .. } if !is_path(path) => {
                Err(WorkloadError::ProbePath { found: path.clone() })
            }
            _ => Ok(()),
        }
    }
}

/// Nothing that would end the request's line early.
fn is_path(path: &str) -> bool {
    path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic())
}
