//! What the enclave answers about the workload.

use super::{Health, OutputEntry, WORKLOAD_VERSION};
use serde::{Deserialize, Serialize};

/// An answer to a [`WorkloadRequest`](super::WorkloadRequest).
///
/// On the wire: `{"version":1,"entry":…}`, `{"version":1,"health":…}` or
/// `{"version":1,"error":{"code":"…","message":"…"}}`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub enum WorkloadResponse {
    /// The next entry of the output.
    Entry(OutputEntry),
    /// How the workload is.
    Health(Health),
    /// The request is not answered; the connection ends.
    Refused(WorkloadRefusal),
}

/// Why the enclave did not answer.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, thiserror::Error)]
#[error("the enclave refused ({code}): {message}")]
pub struct WorkloadRefusal {
    /// The kind of refusal.
    pub code: WorkloadRefusalCode,
    /// The reason in words, for people.
    pub message: String,
}

/// The kinds of refusal.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum WorkloadRefusalCode {
    /// As many connections as the enclave serves are open already; trying again may help.
    Busy,
    /// The request is malformed or beyond a limit.
    InvalidRequest,
}

impl WorkloadResponse {
    /// A refusal.
    #[must_use]
    pub fn refused(code: WorkloadRefusalCode, message: impl Into<String>) -> Self {
        Self::Refused(WorkloadRefusal { code, message: message.into() })
    }

    /// Reads a frame's body.
    pub fn parse(body: &[u8]) -> Result<Self, WorkloadResponseError> {
        let wire: Wire = serde_json::from_slice(body).map_err(WorkloadResponseError::Json)?;
        Self::try_from(wire)
    }

    /// The frame's body.
    pub fn to_json(&self) -> Result<Vec<u8>, WorkloadResponseError> {
        serde_json::to_vec(self).map_err(WorkloadResponseError::Json)
    }
}

impl std::fmt::Display for WorkloadRefusalCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Busy => "Busy",
            Self::InvalidRequest => "InvalidRequest",
        })
    }
}

#[derive(Deserialize, Serialize)]
struct Wire {
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    entry: Option<OutputEntry>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    health: Option<Health>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<WorkloadRefusal>,
}

impl TryFrom<Wire> for WorkloadResponse {
    type Error = WorkloadResponseError;

    fn try_from(wire: Wire) -> Result<Self, WorkloadResponseError> {
        if wire.version != WORKLOAD_VERSION {
            return Err(WorkloadResponseError::Version { found: wire.version });
        }
        match (wire.entry, wire.health, wire.error) {
            (Some(entry), None, None) => Ok(Self::Entry(entry)),
            (None, Some(health), None) => Ok(Self::Health(health)),
            (None, None, Some(refusal)) => Ok(Self::Refused(refusal)),
            _ => Err(WorkloadResponseError::NotOne),
        }
    }
}

impl From<WorkloadResponse> for Wire {
    fn from(response: WorkloadResponse) -> Self {
        let mut wire = Self { version: WORKLOAD_VERSION, entry: None, health: None, error: None };
        match response {
            WorkloadResponse::Entry(entry) => wire.entry = Some(entry),
            WorkloadResponse::Health(health) => wire.health = Some(health),
            WorkloadResponse::Refused(refusal) => wire.error = Some(refusal),
        }
        wire
    }
}

/// Why a response cannot be made or understood.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadResponseError {
    /// The body is not the JSON of a response.
    #[error("the response is not the expected JSON")]
    Json(#[source] serde_json::Error),
    /// The response holds nothing, or several things.
    #[error("the response is not one of an entry, health and an error")]
    NotOne,
    /// The response speaks another version of the protocol.
    #[error("version {found} of the workload protocol is not supported, {WORKLOAD_VERSION} is")]
    Version {
        /// The version found.
        found: u32,
    },
}
