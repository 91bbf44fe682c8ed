//! Faults on demand: what should go wrong with the next calls.

use super::Refusal;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

/// A fault for the next calls of one action.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The action, such as `RunInstances`.
    pub action: String,
    /// How many calls it strikes.
    pub times: u32,
    /// What happens to them.
    pub kind: FaultKind,
}

/// What happens to a call.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultKind {
    /// The call is carried out, and its answer is lost: the connection ends.
    DropAfter,
    /// The connection ends before the call has any effect.
    DropBefore,
    /// The call is refused and has no effect.
    Error {
        /// EC2's error code.
        code: String,
        /// EC2's text.
        message: String,
        /// The HTTP status.
        status: u16,
    },
    /// The call is carried out; its answer waits until it is released.
    HoldAfter,
    /// The call waits until it is released, and is carried out then.
    HoldBefore,
}

impl FaultKind {
    /// An error with the status that EC2 answers it with: 500 for want of capacity, 503 for too many
    /// calls, 400 otherwise.
    #[must_use]
    pub fn error(code: &str) -> Self {
        let status = match code {
            _ if code.starts_with("Insufficient") => 500,
            "RequestLimitExceeded" => 503,
            _ => 400,
        };
        Self::Error { code: code.to_owned(), message: format!("{code}, on demand"), status }
    }

    /// The refusal that this kind is, if it is one.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        let Self::Error { code, message, status } = self else { return None };
        let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_REQUEST);
        Some(Refusal { status, code: code.clone(), message: message.clone() })
    }
}

/// The faults that have yet to strike, in the order in which they were asked for.
#[derive(Debug, Default)]
pub(super) struct Faults {
    waiting: Vec<Fault>,
}

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        self.waiting.push(fault);
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// The fault that strikes this call of `action`.
    pub(super) fn strike(&mut self, action: &str) -> Option<FaultKind> {
        self.waiting.retain(|fault| fault.times > 0);
        let fault = self.waiting.iter_mut().find(|fault| fault.action == action)?;
        fault.times -= 1;
        Some(fault.kind.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_its_own_action_as_often_as_asked() {
        let mut faults = Faults::default();
        let kind = FaultKind::error("InsufficientInstanceCapacity");
        faults.add(Fault { action: "RunInstances".to_owned(), times: 2, kind: kind.clone() });
        assert_eq!(faults.strike("DescribeInstances"), None);
        assert_eq!(faults.strike("RunInstances"), Some(kind.clone()));
        assert_eq!(faults.strike("RunInstances"), Some(kind));
        assert_eq!(faults.strike("RunInstances"), None);
    }

    #[test]
    fn faults_are_written_as_json() {
        let json = r#"{"action":"RunInstances","times":1,"kind":"drop_after"}"#;
        let fault: Fault = serde_json::from_str(json).unwrap();
        assert_eq!(fault.kind, FaultKind::DropAfter);
        let json = r#"{"action":"RunInstances","times":1,"kind":{"error":
            {"code":"RequestLimitExceeded","message":"slow down","status":503}}}"#;
        let fault: Fault = serde_json::from_str(json).unwrap();
        assert_eq!(fault.kind.refusal().unwrap().status, StatusCode::SERVICE_UNAVAILABLE);
    }
}
