//! A thin client of AWS's Query protocol, which EC2 and SNS speak.
//!
//! The full SDK of EC2 takes most of 8 GB of memory to compile for its hundreds of operations; a
//! handful is called here, and one of SNS.

use aws_config::SdkConfig;
use bailey_runtime::{
    calls::Calls,
    signed::{self, ClientError, SendError},
};
use serde::Deserialize;

/// A service that speaks the protocol.
#[derive(Debug)]
pub struct Service {
    /// Its name for people and for the count of calls.
    pub name: &'static str,
    /// Its name in signatures and endpoints.
    pub id: &'static str,
    /// The API version whose calls and answers are spoken.
    pub version: &'static str,
    /// The environment variable that names another endpoint than AWS's.
    pub endpoint_variable: &'static str,
    /// Reads the answer that tells of an error.
    pub error: fn(&str) -> Result<ApiError, XmlError>,
}

/// A service's own words about what went wrong.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct ApiError {
    /// The error code.
    #[serde(rename = "Code")]
    pub code: String,
    /// The message.
    #[serde(rename = "Message", default)]
    pub message: String,
}

/// An answer is not the XML that it should be.
#[derive(Debug, thiserror::Error)]
#[error("the answer is not the expected XML")]
pub struct XmlError {
    #[from]
    source: quick_xml::DeError,
}

/// A client of one service in one region.
#[derive(Debug)]
pub struct Client {
    service: &'static Service,
    sender: signed::Client,
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The service answered with an error.
    #[error("{action}: {}: {}", error.code, error.message)]
    Api {
        /// The action called.
        action: &'static str,
        /// HTTP status.
        status: u16,
        /// The service's words.
        error: ApiError,
    },
    /// The answer could not be understood.
    #[error("{action}: HTTP status {status} with an answer that cannot be read")]
    Answer {
        /// The action called.
        action: &'static str,
        /// HTTP status.
        status: u16,
        /// What is wrong with it.
        source: XmlError,
    },
    /// There is no answer.
    #[error("{action} was not answered")]
    Send {
        /// The action called.
        action: &'static str,
        /// The reason.
        source: SendError,
    },
}

impl CallError {
    /// The service's error when it says for certain that the call had no effect.
    ///
    /// Throttling and server errors do not: the call may be repeated and may then succeed.
    #[must_use]
    pub fn refusal(&self) -> Option<&ApiError> {
        match self {
            // EC2 says so with a server error, and has launched nothing all the same.
            Self::Api { error, .. } if is_shortage(&error.code) => Some(error),
            Self::Api { status: 400..=499, error, .. } if !is_transient(&error.code) => Some(error),
            _ => None,
        }
    }
}

/// Codes by which EC2 has no capacity to give.
///
/// Source: AWS, "Error codes for the Amazon EC2 API", server errors.
fn is_shortage(code: &str) -> bool {
    matches!(
        code,
        "InsufficientCapacity" | "InsufficientHostCapacity" | "InsufficientInstanceCapacity"
    )
}

/// Codes that come with a status below 500 and still only ask for patience.
fn is_transient(code: &str) -> bool {
    matches!(
        code,
        "RequestLimitExceeded"
            | "Throttling"
            | "ThrottlingException"
            | "RequestThrottled"
            | "RequestExpired"
            | "ExpiredToken"
            | "AuthFailure"
            | "ServiceUnavailable"
            | "Unavailable"
            | "InternalError"
            | "InternalFailure"
    )
}

impl Client {
    /// A client with the region and credentials of `config`, whose calls are counted.
    pub fn new(
        service: &'static Service,
        config: &SdkConfig,
        calls: Calls,
    ) -> Result<Self, ClientError> {
        let Service { name, id, endpoint_variable, .. } = *service;
        let content_type = "application/x-www-form-urlencoded; charset=utf-8";
        let signed = signed::Service { name, id, endpoint_variable, content_type };
        Ok(Self { service, sender: signed::Client::new(signed, config, calls)? })
    }

    /// The region that is called.
    #[must_use]
    pub fn region(&self) -> &str {
        self.sender.region()
    }

    /// Calls `action` and gives the XML of a successful answer.
    pub(crate) async fn call(
        &self,
        action: &'static str,
        parameters: &[(String, String)],
    ) -> Result<String, CallError> {
        let body = form(action, self.service.version, parameters);
        let answer = self.sender.post(action, None, &body).await;
        let answer = answer.map_err(|source| CallError::Send { action, source })?;
        let status = answer.status;
        if answer.is_success() {
            return Ok(answer.text);
        }
        match (self.service.error)(&answer.text) {
            Ok(error) => Err(CallError::Api { action, status, error }),
            Err(source) => Err(CallError::Answer { action, status, source }),
        }
    }
}

fn form(action: &str, version: &str, parameters: &[(String, String)]) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("Action", action).append_pair("Version", version);
    for (name, value) in parameters {
        form.append_pair(name, value);
    }
    form.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_names_action_and_version_first_and_escapes_values() {
        let form = form("RunInstances", "2016-11-15", &[("A.1".to_owned(), "x y&z".to_owned())]);
        assert_eq!(form, "Action=RunInstances&Version=2016-11-15&A.1=x+y%26z");
    }

    #[test]
    fn only_a_clear_refusal_counts_as_one() {
        let api = |status, code: &str| CallError::Api {
            action: "RunInstances",
            status,
            error: ApiError { code: code.to_owned(), message: String::new() },
        };
        let unanswered = CallError::Send { action: "RunInstances", source: SendError::Timeout };
        assert!(api(400, "InvalidParameterValue").refusal().is_some());
        assert!(api(400, "RequestLimitExceeded").refusal().is_none());
        assert!(api(500, "InsufficientInstanceCapacity").refusal().is_some());
        assert!(api(500, "InternalError").refusal().is_none());
        assert!(unanswered.refusal().is_none());
    }
}
