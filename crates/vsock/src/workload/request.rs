//! What the parent asks about the workload.

use super::WORKLOAD_VERSION;
use serde::{Deserialize, Serialize};

/// A question about the workload; see the [protocol](super).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub enum WorkloadRequest {
    /// Is it healthy now?
    Health,
    /// What it printed, and what became of it, from now on until the parent hangs up.
    Output {
        /// The sequence of the last entry that the parent has; everything that is held without one.
        after: Option<u64>,
    },
}

impl WorkloadRequest {
    /// Reads a frame's body.
    pub fn parse(body: &[u8]) -> Result<Self, WorkloadRequestError> {
        let wire: Wire = serde_json::from_slice(body).map_err(WorkloadRequestError::Json)?;
        Self::try_from(wire)
    }

    /// The frame's body.
    pub fn to_json(self) -> Result<Vec<u8>, WorkloadRequestError> {
        serde_json::to_vec(&self).map_err(WorkloadRequestError::Json)
    }
}

#[derive(Deserialize, Serialize)]
struct Wire {
    version: u32,
    request: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<u64>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Health,
    Output,
}

impl TryFrom<Wire> for WorkloadRequest {
    type Error = WorkloadRequestError;

    fn try_from(wire: Wire) -> Result<Self, WorkloadRequestError> {
        if wire.version != WORKLOAD_VERSION {
            return Err(WorkloadRequestError::Version { found: wire.version });
        }
        match wire.request {
            Kind::Health if wire.after.is_some() => Err(WorkloadRequestError::AfterForHealth),
            Kind::Health => Ok(Self::Health),
            Kind::Output => Ok(Self::Output { after: wire.after }),
        }
    }
}

impl From<WorkloadRequest> for Wire {
    fn from(request: WorkloadRequest) -> Self {
        let (request, after) = match request {
            WorkloadRequest::Health => (Kind::Health, None),
            WorkloadRequest::Output { after } => (Kind::Output, after),
        };
        Self { version: WORKLOAD_VERSION, request, after }
    }
}

/// Why a request cannot be made or understood.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadRequestError {
    /// A question about health has no position.
    #[error("a request for health has no `after`")]
    AfterForHealth,
    /// The body is not the JSON of a request.
    #[error("the request is not the expected JSON")]
    Json(#[source] serde_json::Error),
    /// The request speaks another version of the protocol.
    #[error("version {found} of the workload protocol is not supported, {WORKLOAD_VERSION} is")]
    Version {
        /// The version found.
        found: u32,
    },
}
