//! Whom a change of a table is about. Pure.
//!
//! A change only says *look again*: whoever it is about is read anew.

use crate::wake::{Attribute, Image, is_echo, pause_after_report};
use bailey_model::{EnclaveId, hosts::OBSERVED_PREFIX};
use std::time::Duration;

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
        /// How soon that needs a look.
        pause: Duration,
    },
}

/// How many claims of a host are looked at; AWS allows four enclaves on an instance.
const MOST_CLAIMS: usize = 4;

impl Subject {
    /// Whom a change of the item with these keys is about; nobody when it is of no concern, or the echo
    /// of a coordinator's own write.
    #[must_use]
    pub fn of<V: Attribute>(
        keys: &Image<'_, V>,
        old: &Image<'_, V>,
        new: &Image<'_, V>,
    ) -> Option<Self> {
        let key = |name: &str| keys.get(name).and_then(|value| value.text());
        if let Some(id) = key("id") {
            return (!is_echo(old, new)).then(|| Self::Record(id.to_owned()));
        }
        // Heartbeats and what coordinators write are left out.
        let instance_arn = key("pk")?.strip_prefix(OBSERVED_PREFIX)?.to_owned();
        let assignments = new.get("assignments").and_then(|value| value.list());
        // A parent may write anything there; what is no id is nobody's.
        let id = |assignment: &V| {
            let id: EnclaveId = assignment.field("enclave_id")?.text()?.parse().ok()?;
            Some(id.to_string())
        };
        let claims = assignments.into_iter().flatten().filter_map(id).take(MOST_CLAIMS);
        Some(Self::Host { instance_arn, claims: claims.collect(), pause: pause_after_report(new) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{Wire, image};
    use serde_json::{Value, json};
    use std::collections::BTreeMap;

    fn of(keys: Value, new: Value) -> Option<Subject> {
        let item = |value| serde_json::from_value::<BTreeMap<String, Wire>>(value).unwrap();
        let (keys, new) = (item(keys), item(new));
        Subject::of(&image(&keys), &Image::new(), &image(&new))
    }

    #[test]
    fn a_record_is_named_by_its_id() {
        let found = of(json!({ "id": { "S": "enc_1" } }), json!({}));
        assert_eq!(found, Some(Subject::Record("enc_1".to_owned())));
    }

    #[test]
    fn a_host_that_reports_is_named_with_its_first_claims() {
        let keys = || json!({ "pk": { "S": "observed#arn:i-1" } });
        let claims = |n: usize| (0..n).map(|n| format!("enc_{n}")).collect::<Vec<_>>();
        let assigned = |id: &String| json!({ "M": { "enclave_id": { "S": id } } });
        let assignments: Vec<_> = claims(9).iter().map(assigned).collect();
        let host = |claims| {
            let instance_arn = "arn:i-1".to_owned();
            Some(Subject::Host { instance_arn, claims, pause: Duration::ZERO })
        };
        let new = json!({ "assignments": { "L": assignments } });
        assert_eq!(of(keys(), new), host(claims(4)));
        assert_eq!(of(keys(), json!({})), host(vec![]));
        let claimed = |id: Value| json!({ "M": { "enclave_id": id } });
        let odd = [json!({ "BOOL": true }), json!({ "S": "" }), json!({ "S": "x".repeat(3_000) })];
        let odd: Vec<_> = odd.into_iter().map(claimed).chain([json!({ "N": "7" })]).collect();
        let odd = json!({ "assignments": { "L": odd } });
        assert_eq!(of(keys(), odd), host(vec![]));
    }

    #[test]
    fn heartbeats_and_our_own_items_concern_nobody() {
        for key in ["beat#arn:i-1", "desired#arn:i-1", "other"] {
            assert_eq!(of(json!({ "pk": { "S": key } }), json!({})), None, "{key}");
        }
        assert_eq!(of(json!({ "id": { "BOOL": true } }), json!({})), None);
    }
}
