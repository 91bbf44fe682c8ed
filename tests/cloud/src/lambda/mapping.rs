//! An event source mapping: a stream's records, filtered, in batches.
//!
//! Source: AWS, "Using AWS Lambda with Amazon DynamoDB": a batch that is given back is delivered again from
//! the sequence number named, and after so many tries it goes to the destination for failures.

use super::{
    runtime_api::{Invoked, RuntimeApi},
    wire::event,
};
use crate::local::{CloudError, LocalCloud};
use aws_sdk_dynamodbstreams::{Client, types::ShardIteratorType};
use serde_json::{Value, json};
use std::{collections::HashMap, sync::Arc, time::Duration};

/// How often Lambda reads a stream's shards.
const POLL: Duration = Duration::from_millis(250);
/// How often a batch is delivered before it goes elsewhere.
const TRIES: u32 = 5;
/// Records in a batch, at most.
const BATCH: usize = 100;

/// The filters of the web app's table, as the function's deployment has them.
pub(super) const RECORDS: &str =
    include_str!("../../../../coordinator/event-filters/enclaves.json");
/// Those of the hosts table.
pub(super) const HOSTS: &str = include_str!("../../../../coordinator/event-filters/hosts.json");

/// One stream and where it is read.
pub(super) struct Mapping {
    client: Client,
    stream_arn: String,
    filters: Vec<Value>,
    /// Where each shard is read on; none at its end.
    shards: HashMap<String, Option<String>>,
}

impl Mapping {
    /// Starts at the present end of a table's stream.
    pub(super) async fn at_end(
        cloud: &LocalCloud,
        table: &str,
        filters: &str,
    ) -> Result<Self, CloudError> {
        let described = cloud.dynamodb().describe_table().table_name(table).send().await;
        let described = described.map_err(CloudError::aws(format!("describe {table}")))?;
        let stream_arn = described.table.and_then(|table| table.latest_stream_arn);
        let filters: Vec<Value> = serde_json::from_str(filters).unwrap_or_default();
        let mut mapping = Self {
            client: cloud.streams().clone(),
            stream_arn: stream_arn.unwrap_or_default(),
            filters,
            shards: HashMap::new(),
        };
        mapping.list(&ShardIteratorType::Latest).await;
        Ok(mapping)
    }

    /// Invokes the function with what comes, for ever.
    pub(super) async fn follow(mut self, api: Arc<RuntimeApi>) {
        let mut ticks = tokio::time::interval(POLL);
        loop {
            ticks.tick().await;
            let records = self.read().await;
            for batch in records.chunks(BATCH) {
                deliver(&api, batch.to_vec()).await;
            }
            self.list(&ShardIteratorType::TrimHorizon).await;
        }
    }

    async fn read(&mut self) -> Vec<Value> {
        let mut events = Vec::new();
        for iterator in self.shards.values_mut() {
            let Some(position) = iterator.clone() else { continue };
            let read = self.client.get_records().shard_iterator(position).send().await;
            let Ok(read) = read else { continue };
            events.extend(read.records().iter().map(event));
            *iterator = read.next_shard_iterator;
        }
        events.retain(|event| self.filters.iter().any(|pattern| passes(pattern, event)));
        events
    }

    async fn list(&mut self, start: &ShardIteratorType) {
        let described = self.client.describe_stream().stream_arn(&self.stream_arn).send().await;
        let shards = described.ok().and_then(|it| it.stream_description).and_then(|it| it.shards);
        for id in shards.into_iter().flatten().filter_map(|shard| shard.shard_id) {
            if self.shards.contains_key(&id) {
                continue;
            }
            let at = self.client.get_shard_iterator().stream_arn(&self.stream_arn);
            let at = at.shard_id(&id).shard_iterator_type(start.clone()).send().await;
            if let Ok(at) = at {
                self.shards.insert(id, at.shard_iterator);
            }
        }
    }
}

/// Delivers a batch, and again from where it is given back.
async fn deliver(api: &RuntimeApi, mut batch: Vec<Value>) {
    for _ in 0..TRIES {
        match api.invoke(json!({ "Records": batch })).await {
            Invoked::Answered(answer) => {
                let Some(from) = answer.pointer("/batchItemFailures/0/itemIdentifier") else {
                    return;
                };
                let sequence = |event: &Value| event.pointer("/dynamodb/SequenceNumber").cloned();
                let position = batch.iter().position(|it| sequence(it).as_ref() == Some(from));
                batch.drain(..position.unwrap_or_default());
            }
            Invoked::Failed(reason) => log::warn!(reason = reason.to_string(); "invocation failed"),
        }
    }
    log::error!(records = batch.len(); "a batch went to the destination for failures");
}

/// Whether an event fits a pattern: maps by their fields, a list by any of its alternatives.
///
/// Source: AWS, "Lambda event filtering"; as far as the patterns here go.
fn passes(pattern: &Value, event: &Value) -> bool {
    match pattern {
        Value::Object(fields) => fields
            .iter()
            .all(|(name, inner)| event.get(name).is_some_and(|found| passes(inner, found))),
        Value::Array(alternatives) => alternatives.iter().any(|alternative| {
            match alternative.get("prefix").and_then(Value::as_str) {
                Some(prefix) => event.as_str().is_some_and(|text| text.starts_with(prefix)),
                None => alternative == event,
            }
        }),
        other => other == event,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(filters: &str, event: &Value) -> bool {
        let filters: Vec<Value> = serde_json::from_str(filters).unwrap();
        filters.iter().any(|pattern| passes(pattern, event))
    }

    #[test]
    fn requests_and_removals_of_records_pass_and_results_do_not() {
        let record = |name: &str, status: &str| json!({ "eventName": name, "dynamodb": { "NewImage": { "status": { "S": status } } } });
        for status in ["PENDING_DEPLOY", "PENDING_DESTROY", "PAUSING", "RESUMING"] {
            assert!(pass(RECORDS, &record("INSERT", status)), "{status}");
            assert!(pass(RECORDS, &record("MODIFY", status)), "{status}");
        }
        for status in ["DEPLOYING", "DEPLOYED", "DESTROYING", "DESTROYED", "FAILED", "PAUSED"] {
            assert!(!pass(RECORDS, &record("MODIFY", status)), "{status}");
        }
        assert!(pass(RECORDS, &json!({ "eventName": "REMOVE", "dynamodb": {} })));
    }

    #[test]
    fn what_hosts_report_passes_and_heartbeats_do_not() {
        let host = |key: &str| json!({ "eventName": "MODIFY", "dynamodb": { "Keys": { "pk": { "S": key } } } });
        assert!(pass(HOSTS, &host("observed#arn")));
        assert!(!pass(HOSTS, &host("beat#arn")));
        assert!(!pass(HOSTS, &host("desired#arn")));
    }
}
