//! The calls that are made to CloudWatch Logs (API `Logs_20140328`, JSON 1.1).

use crate::{
    calls::Calls,
    signed::{self, Answer, ClientError, SendError},
};
use aws_config::SdkConfig;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const SERVICE: signed::Service = signed::Service {
    name: "CloudWatch Logs",
    id: "logs",
    endpoint_variable: "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS",
    content_type: "application/x-amz-json-1.1",
};

/// Where an enclave's logs lie below a prefix such as `/aws/ec2/enclave/`.
#[must_use]
pub fn group(prefix: &str, enclave_id: &str) -> String {
    format!("{prefix}{enclave_id}")
}

/// The stream with what an enclave's workload prints. Parents write it: nobody vouches for it.
pub const APPLICATION: &str = "application";
/// The stream with what becomes of an enclave's workload. Parents write it, too.
pub const SYSTEM: &str = "system";

/// CloudWatch Logs in one region.
#[derive(Debug)]
pub struct Logs(signed::Client);

/// One entry of a stream.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LogEvent {
    /// Milliseconds since 1970.
    pub timestamp: u64,
    /// The text, which is not empty.
    pub message: String,
}

impl LogEvent {
    /// What it takes of a call: AWS counts 26 bytes beside the message (`PutLogEvents`).
    #[must_use]
    pub fn size(&self) -> usize {
        self.message.len().saturating_add(26)
    }
}

/// The most events and bytes that one call takes (`PutLogEvents`).
pub const MOST_EVENTS: usize = 10_000;
/// See [`MOST_EVENTS`].
pub const MOST_BYTES: usize = 1_048_576;

/// A part of a stream.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Page {
    /// The events, oldest first.
    pub events: Vec<LogEvent>,
    /// Where the next part begins; the same as before at the present end.
    pub next: Option<String>,
}

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The service refused.
    #[error("{action}: {code}: {message}")]
    Refused {
        /// The action called.
        action: &'static str,
        /// The service's error code.
        code: String,
        /// Its message.
        message: String,
    },
    /// There was no answer.
    #[error("{action} was not answered")]
    Send {
        /// The action called.
        action: &'static str,
        /// The reason.
        source: SendError,
    },
    /// The answer is none of this API.
    #[error("{action}: HTTP status {status} with an answer that cannot be read")]
    Unreadable {
        /// The action called.
        action: &'static str,
        /// HTTP status.
        status: u16,
    },
}

impl LogsError {
    /// Whether group or stream do not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code == "ResourceNotFoundException")
    }

    fn is_there_already(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code == "ResourceAlreadyExistsException")
    }
}

impl Logs {
    /// A client with the region and credentials of `config`, whose calls are counted.
    pub fn new(config: &SdkConfig, calls: Calls) -> Result<Self, ClientError> {
        signed::Client::new(SERVICE, config, calls).map(Self)
    }

    /// Makes a group, and has it keep what is written for `retention_days`, for ever without a number. One that is
    /// there already is left as it is.
    pub async fn make_group(
        &self,
        group: &str,
        retention_days: Option<u32>,
    ) -> Result<(), LogsError> {
        match self.call("CreateLogGroup", &json!({ "logGroupName": group })).await {
            Err(error) if error.is_there_already() => return Ok(()),
            made => drop(made?),
        }
        let Some(days) = retention_days else { return Ok(()) };
        let body = json!({ "logGroupName": group, "retentionInDays": days });
        self.call("PutRetentionPolicy", &body).await.map(drop)
    }

    /// Appends `events`, oldest first, at most [`MOST_EVENTS`] and [`MOST_BYTES`] of them; makes the stream when
    /// it is not there. The group has to be.
    pub async fn append(
        &self,
        group: &str,
        stream: &str,
        events: &[LogEvent],
    ) -> Result<(), LogsError> {
        let body = json!({ "logGroupName": group, "logStreamName": stream, "logEvents": events });
        match self.call("PutLogEvents", &body).await {
            Err(error) if error.is_not_found() => {}
            done => return done.map(drop),
        }
        let names = json!({ "logGroupName": group, "logStreamName": stream });
        made(self.call("CreateLogStream", &names).await)?;
        self.call("PutLogEvents", &body).await.map(drop)
    }

    /// Reads a stream from where an earlier page ended, from its beginning without one.
    pub async fn page(
        &self,
        group: &str,
        stream: &str,
        from: Option<&str>,
    ) -> Result<Page, LogsError> {
        const ACTION: &str = "GetLogEvents";
        let mut body =
            json!({ "logGroupName": group, "logStreamName": stream, "startFromHead": true });
        if let (Some(from), Some(body)) = (from, body.as_object_mut()) {
            body.insert("nextToken".to_owned(), from.into());
        }
        let answer = self.call(ACTION, &body).await?;
        let answer: Events = serde_json::from_value(answer)
            .map_err(|_| LogsError::Unreadable { action: ACTION, status: 200 })?;
        Ok(Page { events: answer.events, next: answer.next })
    }

    async fn call(&self, action: &'static str, body: &Value) -> Result<Value, LogsError> {
        let target = format!("Logs_20140328.{action}");
        let answer = self.0.post(action, Some(("x-amz-target", &target)), &body.to_string()).await;
        understood(action, &answer.map_err(|source| LogsError::Send { action, source })?)
    }
}

/// What exists already was made by somebody at the same time.
fn made(answer: Result<Value, LogsError>) -> Result<(), LogsError> {
    match answer {
        Err(error) if error.is_there_already() => Ok(()),
        answer => answer.map(drop),
    }
}

fn understood(action: &'static str, answer: &Answer) -> Result<Value, LogsError> {
    let unreadable = LogsError::Unreadable { action, status: answer.status };
    if answer.is_success() {
        // Actions without a result answer with nothing at all.
        let text = if answer.text.is_empty() { "{}" } else { &answer.text };
        return serde_json::from_str(text).map_err(|_| unreadable);
    }
    let Ok(refusal) = serde_json::from_str::<Refusal>(&answer.text) else {
        return Err(unreadable);
    };
    // Some answers put the name of a namespace in front.
    let code = refusal.code.rsplit('#').next().unwrap_or_default().to_owned();
    Err(LogsError::Refused { action, code, message: refusal.message })
}

#[derive(Deserialize)]
struct Events {
    events: Vec<LogEvent>,
    #[serde(rename = "nextForwardToken")]
    next: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(rename = "__type")]
    code: String,
    #[serde(default, alias = "Message")]
    message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_read_with_its_code_and_message() {
        let text = r#"{"__type":"com.amazonaws.logs#ResourceNotFoundException","message":"no such group"}"#;
        let answer = Answer { status: 400, text: text.to_owned() };
        let error = understood("PutLogEvents", &answer).unwrap_err();
        assert!(error.is_not_found());
        let said = "PutLogEvents: ResourceNotFoundException: no such group";
        assert_eq!(error.to_string(), said);
    }

    #[test]
    fn an_answer_without_a_body_is_a_success_and_one_that_is_no_json_is_not() {
        let answer = |status, text: &str| Answer { status, text: text.to_owned() };
        assert_eq!(understood("CreateLogGroup", &answer(200, "")).unwrap(), json!({}));
        let error = understood("CreateLogGroup", &answer(502, "<html>")).unwrap_err();
        assert!(matches!(error, LogsError::Unreadable { status: 502, .. }), "{error}");
    }
}
