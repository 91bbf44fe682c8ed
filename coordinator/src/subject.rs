//! Whom a change of a table is about. Pure.
//!
//! A change only says *look again*: whoever it is about is read anew.

use bailey_model::hosts::OBSERVED_PREFIX;
use serde_json::{Map, Value};

/// Whom a change is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Subject {
    /// The record with this id, as it is written.
    Record(String),
    /// A host that reported.
    Host {
        /// The instance's ARN.
        instance_arn: String,
        /// Whose enclaves it says that it runs: a few at most, and no more than a claim.
        claims: Vec<String>,
    },
}

/// How many claims of a host are looked at; AWS allows four enclaves on an instance.
const MOST_CLAIMS: usize = 4;

impl Subject {
    /// Whom a change of the item with these keys is about; nobody when it is of no concern.
    #[must_use]
    pub fn of(
        keys: &Map<String, Value>,
        _before: Option<&Map<String, Value>>,
        after: Option<&Map<String, Value>>,
    ) -> Option<Self> {
        let key = |name: &str| keys.get(name).and_then(Value::as_str);
        if let Some(id) = key("id") {
            return Some(Self::Record(id.to_owned()));
        }
        // Heartbeats and what coordinators write are left out.
        let instance_arn = key("pk")?.strip_prefix(OBSERVED_PREFIX)?.to_owned();
        let assignments = after.and_then(|it| it.get("assignments")).and_then(Value::as_array);
        let id = |assignment: &Value| Some(assignment.get("enclave_id")?.as_str()?.to_owned());
        let claims = assignments.into_iter().flatten().filter_map(id).take(MOST_CLAIMS);
        Some(Self::Host { instance_arn, claims: claims.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_record_is_named_by_its_id() {
        let keys = map(json!({ "id": "enc_1" }));
        assert_eq!(Subject::of(&keys, None, None), Some(Subject::Record("enc_1".to_owned())));
    }

    #[test]
    fn a_host_that_reports_is_named_with_its_first_claims() {
        let keys = map(json!({ "pk": "observed#arn:i-1" }));
        let claims = |n: usize| (0..n).map(|n| format!("enc_{n}")).collect::<Vec<_>>();
        let assignments: Vec<_> = claims(9).iter().map(|id| json!({ "enclave_id": id })).collect();
        let after = map(json!({ "assignments": assignments }));
        let host = |claims| Some(Subject::Host { instance_arn: "arn:i-1".to_owned(), claims });
        assert_eq!(Subject::of(&keys, None, Some(&after)), host(claims(4)));
        assert_eq!(Subject::of(&keys, None, None), host(vec![]));
        let odd = map(json!({ "assignments": [{}, { "enclave_id": 5 }, 7] }));
        assert_eq!(Subject::of(&keys, None, Some(&odd)), host(vec![]));
    }

    #[test]
    fn heartbeats_and_our_own_items_concern_nobody() {
        for key in ["beat#arn:i-1", "desired#arn:i-1", "other"] {
            let keys = map(json!({ "pk": key }));
            assert_eq!(Subject::of(&keys, None, None), None, "{key}");
        }
        assert_eq!(Subject::of(&map(json!({ "id": 5 })), None, None), None);
    }
}
