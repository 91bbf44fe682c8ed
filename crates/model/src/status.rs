//! The status of an enclave record.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The `status` of an enclave record.
///
/// The web app writes requests, the coordinator writes results ([`Status::is_request`]).
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Result: the enclave runs and answered with a verified document.
    Deployed,
    /// Result: the request to deploy was accepted.
    Deploying,
    /// Result: the enclave is gone and so is its instance.
    Destroyed,
    /// Result: the request to destroy was accepted.
    Destroying,
    /// Result: the request failed; `error` says why.
    Failed,
    /// Result: the enclave is stopped and can be resumed.
    Paused,
    /// Request: stop the enclave, keep what it takes to resume.
    Pausing,
    /// Request: start an enclave.
    PendingDeploy,
    /// Request: end the enclave; honoured from every status.
    PendingDestroy,
    /// Request: start a paused enclave again.
    Resuming,
}

impl Status {
    /// Every status, in alphabetical order.
    pub const ALL: [Self; 10] = [
        Self::Deployed,
        Self::Deploying,
        Self::Destroyed,
        Self::Destroying,
        Self::Failed,
        Self::Paused,
        Self::Pausing,
        Self::PendingDeploy,
        Self::PendingDestroy,
        Self::Resuming,
    ];

    /// The text in the record.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deployed => "DEPLOYED",
            Self::Deploying => "DEPLOYING",
            Self::Destroyed => "DESTROYED",
            Self::Destroying => "DESTROYING",
            Self::Failed => "FAILED",
            Self::Paused => "PAUSED",
            Self::Pausing => "PAUSING",
            Self::PendingDeploy => "PENDING_DEPLOY",
            Self::PendingDestroy => "PENDING_DESTROY",
            Self::Resuming => "RESUMING",
        }
    }

    /// Whether the web app writes this status; the coordinator writes the others.
    #[must_use]
    pub fn is_request(self) -> bool {
        matches!(self, Self::PendingDeploy | Self::PendingDestroy | Self::Pausing | Self::Resuming)
    }

    /// Whether nothing more happens until the web app asks for it.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Deployed | Self::Destroyed | Self::Failed | Self::Paused)
    }
}

impl FromStr for Status {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| UnknownStatus { text: text.to_owned() })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is none of the statuses.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{text}` is not a status")]
pub struct UnknownStatus {
    /// The text found.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_reads_back_from_its_text_and_its_json() {
        for status in Status::ALL {
            assert_eq!(status.as_str().parse(), Ok(status));
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
    }

    #[test]
    fn a_status_is_written_by_one_side_only() {
        let requests: Vec<_> = Status::ALL.into_iter().filter(|s| s.is_request()).collect();
        assert_eq!(requests.len(), 4);
        assert!(requests.iter().all(|s| !s.is_terminal()));
    }
}
