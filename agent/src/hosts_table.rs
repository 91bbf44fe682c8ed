//! The hosts table in DynamoDB.
//!
//! The instance role may read its own `desired#` item and update its own `observed#` and `beat#`
//! items, and nothing else: so these are the only calls made.

use crate::ports::{HostsTable, TableError};
use aws_sdk_dynamodb::{
    Client,
    types::{AttributeValue, ReturnValue},
};
use bailey_model::hosts::{Beat, Desired, Observed, beat_key, desired_key, observed_key};
use bailey_runtime::{calls::Calls, items};
use serde::Serialize;
use std::error::Error;

/// The attribute that is the table's partition key.
const KEY: &str = "pk";

/// The items of one instance in the hosts table.
#[derive(Clone, Debug)]
pub struct DynamoHostsTable {
    /// The client.
    pub client: Client,
    /// The table's name.
    pub table: String,
    /// The instance's ARN.
    pub instance_arn: String,
    /// The calls of all of the agent's clients, which the heartbeat shows.
    pub calls: Calls,
}

impl HostsTable for DynamoHostsTable {
    async fn desired(&self) -> Result<Option<Desired>, TableError> {
        let key = desired_key(&self.instance_arn);
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .key(KEY, AttributeValue::S(key.clone()))
            .consistent_read(true)
            .send()
            .await
            .map_err(|err| self.failed("read", &key, err))?;
        let desired = answer.item.map(items::from_item).transpose();
        desired.map_err(|source| TableError::Malformed { table: self.table.clone(), key, source })
    }

    async fn report(&self, observed: &Observed) -> Result<(), TableError> {
        self.update(observed_key(&self.instance_arn), observed).await
    }

    async fn beat(&self, beat: &Beat) -> Result<(), TableError> {
        let beat = Beat { calls: self.calls.by_name(), ..beat.clone() };
        self.update(beat_key(&self.instance_arn), &beat).await
    }
}

impl DynamoHostsTable {
    /// Sets every field of `value` on the item, which is made when absent.
    async fn update<T: Serialize + Sync>(&self, key: String, value: &T) -> Result<(), TableError> {
        let item = items::to_item(value).map_err(|source| TableError::Malformed {
            table: self.table.clone(),
            key: key.clone(),
            source,
        })?;
        let mut update = self
            .client
            .update_item()
            .table_name(&self.table)
            .key(KEY, AttributeValue::S(key.clone()))
            .return_values(ReturnValue::None);
        let mut assignments = Vec::new();
        // Names are given apart, because DynamoDB reserves hundreds of words.
        for (index, (name, value)) in item.into_iter().enumerate() {
            assignments.push(format!("#f{index} = :f{index}"));
            update = update
                .expression_attribute_names(format!("#f{index}"), name)
                .expression_attribute_values(format!(":f{index}"), value);
        }
        let expression = format!("SET {}", assignments.join(", "));
        let sent = update.update_expression(expression).send().await;
        sent.map(drop).map_err(|err| self.failed("update", &key, err))
    }

    fn failed(
        &self,
        operation: &'static str,
        key: &str,
        source: impl Error + Send + Sync + 'static,
    ) -> TableError {
        let (table, key) = (self.table.clone(), key.to_owned());
        TableError::Call { operation, table, key, source: Box::new(source) }
    }
}
