//! What a request asks for, as far as the wire has to know it.

use axum::http::{Method, header, request::Parts};
use hyper::body::Bytes;
use serde_json::Value;
use std::fmt;
use url::form_urlencoded;

/// Who calls.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Party {
    /// The agents.
    Agents,
    /// The coordinators.
    Coordinators,
}

/// A call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Call {
    /// Who makes it.
    pub party: Party,
    /// What it asks for: `PutItem`, `GetRecords`, `GetObject`, `RunInstances`.
    pub operation: String,
    /// What it is about, for people: a table or an index with the state that is written; a key.
    pub subject: String,
    /// The id of the record or the entry that it writes, where it does.
    pub enclave_id: Option<String>,
    pub(super) protocol: Protocol,
}

/// How the service is spoken to, on which the form of its errors depends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Protocol {
    /// DynamoDB and its streams.
    Json,
    /// EC2.
    Query,
    /// S3.
    Objects,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.operation, self.subject)
    }
}

impl Call {
    pub(super) fn of(party: Party, head: &Parts, body: &Bytes) -> Self {
        let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(target) = header("x-amz-target") {
            let operation = target.rsplit('.').next().unwrap_or(target).to_owned();
            let body = serde_json::from_slice(body).unwrap_or_default();
            let (subject, enclave_id) = (item_subject(&body), item_id(&body));
            return Self { party, operation, subject, enclave_id, protocol: Protocol::Json };
        }
        let content_type = header(header::CONTENT_TYPE.as_str()).unwrap_or_default();
        if content_type.starts_with("application/x-www-form-urlencoded") {
            let pair = |wanted: &str| {
                let mut pairs = form_urlencoded::parse(body);
                pairs.find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned())
            };
            let operation = pair("Action").unwrap_or_default();
            let subject = pair("InstanceId.1").unwrap_or_default();
            let (enclave_id, protocol) = (None, Protocol::Query);
            return Self { party, operation, subject, enclave_id, protocol };
        }
        // The first part of the path is the bucket.
        let path = head.uri.path().trim_start_matches('/');
        let key = path.split_once('/').map_or("", |(_, key)| key);
        let what = if key.is_empty() { "Bucket" } else { "Object" };
        let verb = match head.method {
            Method::GET => "Get",
            Method::HEAD => "Head",
            Method::PUT => "Put",
            Method::DELETE => "Delete",
            _ => "Post",
        };
        let (operation, subject) = (format!("{verb}{what}"), path.to_owned());
        Self { party, operation, subject, enclave_id: None, protocol: Protocol::Objects }
    }

    /// What it does in the life of an enclave, whichever enclave that is: an operation, and for a
    /// table what is written there.
    #[must_use]
    pub fn step(&self) -> String {
        match self.protocol {
            Protocol::Json => self.to_string(),
            Protocol::Query | Protocol::Objects => self.operation.clone(),
        }
    }

    /// Whether it changes anything.
    #[must_use]
    pub fn is_write(&self) -> bool {
        WRITES.contains(&self.operation.as_str())
    }

    /// Whether it is the call with which a sweep begins.
    pub(super) fn is_sweep(&self) -> bool {
        self.party == Party::Coordinators
            && self.operation == "Query"
            && self.subject == "active-index"
    }
}

/// Every call of ours that changes something.
const WRITES: [&str; 9] = [
    "DeleteItem",
    "PutItem",
    "PutObject",
    "RunInstances",
    "StartInstances",
    "StopInstances",
    "TerminateInstances",
    "TransactWriteItems",
    "UpdateItem",
];

/// The call itself, or the first one of a transaction.
fn first(body: &Value) -> &Value {
    let first = body.pointer("/TransactItems/0");
    first.and_then(Value::as_object).and_then(|item| item.values().next()).unwrap_or(body)
}

fn item_id(body: &Value) -> Option<String> {
    let what = first(body);
    let id = what.pointer("/Item/id/S").or_else(|| what.pointer("/Key/id/S"));
    id.and_then(Value::as_str).map(str::to_owned)
}

/// The index or the table, and the state or the phase that is written there.
fn item_subject(body: &Value) -> String {
    let what = first(body);
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let index = text(what.get("IndexName"));
    if !index.is_empty() {
        return index;
    }
    let written = what.pointer("/Item/state/M/name/S").or_else(|| updated(what, "phase"));
    format!("{} {}", text(what.get("TableName")), text(written)).trim().to_owned()
}

/// The text to which an `UpdateItem` sets an attribute: our programs name it by `#n3` or `#f3` and
/// its value by `:v3` or `:f3`.
fn updated<'a>(update: &'a Value, attribute: &str) -> Option<&'a Value> {
    let names = update.get("ExpressionAttributeNames")?.as_object()?;
    let (placeholder, _) = names.iter().find(|(_, name)| *name == attribute)?;
    let values = update.get("ExpressionAttributeValues")?;
    let number = placeholder.trim_start_matches(['#', 'n', 'f']);
    [":v", ":f"].iter().find_map(|kind| values.get(format!("{kind}{number}"))?.get("S"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;
    use serde_json::json;

    fn call(request: axum::http::request::Builder, body: &str) -> Call {
        let (head, ()) = request.body(()).unwrap().into_parts();
        Call::of(Party::Coordinators, &head, &Bytes::from(body.to_owned()))
    }

    fn dynamodb(operation: &str, body: &Value) -> Call {
        let target = format!("DynamoDB_20120810.{operation}");
        call(Request::post("/").header("x-amz-target", target), &body.to_string())
    }

    #[test]
    fn a_write_of_a_table_is_named_with_the_state_that_it_writes() {
        let item = json!({ "state": { "M": { "name": { "S": "LAUNCHING" } } } });
        let put = dynamodb("PutItem", &json!({ "TableName": "ledger", "Item": item }));
        assert_eq!((put.to_string().as_str(), put.is_write()), ("PutItem ledger LAUNCHING", true));
        let items = json!([{ "Put": { "TableName": "ledger", "Item": item } }]);
        let both = dynamodb("TransactWriteItems", &json!({ "TransactItems": items }));
        assert_eq!(both.to_string(), "TransactWriteItems ledger LAUNCHING");
        let update = json!({
            "TableName": "enclaves",
            "Key": { "id": { "S": "a" } },
            "ExpressionAttributeNames": { "#n7": "phase", "#read": "status" },
            "ExpressionAttributeValues": { ":v7": { "S": "RUNNING" }, ":read": { "S": "x" } },
        });
        let update = dynamodb("UpdateItem", &update);
        assert_eq!(update.to_string(), "UpdateItem enclaves RUNNING");
        assert_eq!(update.enclave_id.as_deref(), Some("a"));
    }

    #[test]
    fn reads_are_no_writes_and_a_sweep_begins_with_the_active_entries() {
        let query = dynamodb("Query", &json!({ "TableName": "l", "IndexName": "active-index" }));
        assert!(query.is_sweep() && !query.is_write());
        assert!(!dynamodb("GetItem", &json!({ "TableName": "l" })).is_write());
    }

    #[test]
    fn calls_of_s3_and_ec2_are_told_by_what_they_consist_of() {
        let put = call(Request::put("/reports/reports/a/1/1.json?x-id=PutObject"), "{}");
        assert_eq!((put.operation.as_str(), put.is_write()), ("PutObject", true));
        assert_eq!(call(Request::get("/images/a.eif"), "").operation, "GetObject");
        assert_eq!(call(Request::get("/images?list-type=2"), "").operation, "GetBucket");
        let form = "application/x-www-form-urlencoded; charset=utf-8";
        let ec2 = Request::post("/").header("content-type", form);
        let ended = call(ec2, "Action=TerminateInstances&InstanceId.1=i-1");
        assert_eq!(ended.to_string(), "TerminateInstances i-1");
        assert_eq!(ended.step(), "TerminateInstances");
        assert_eq!(ended.protocol, Protocol::Query);
    }
}
