//! The hosts table in DynamoDB.
//!
//! The instance role may read its own `desired#` item and update its own `observed#` and `beat#`
//! items, and nothing else: so these are the only calls made.

use crate::ports::{HostsTable, TableError};
use aws_sdk_dynamodb::{
    Client,
    error::ProvideErrorMetadata as _,
    operation::update_item::builders::UpdateItemFluentBuilder,
    types::{AttributeValue, ReturnValue},
};
use bailey_model::hosts::{Beat, Desired, Observed, beat_key, desired_key, observed_key};
use bailey_runtime::{calls::Calls, items};
use serde::Serialize;
use std::{
    collections::HashSet,
    error::Error,
    sync::{Arc, Mutex, PoisonError},
};

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
    /// Which of the items this process has made; none at its start.
    pub made: Made,
}

/// The items that this process has made.
#[derive(Clone, Debug, Default)]
pub struct Made(Arc<Mutex<HashSet<String>>>);

impl Made {
    fn has(&self, key: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(key)
    }

    fn note(&self, key: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
    }
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
    ///
    /// An item that this process made and that is gone was removed by the coordinator, together with
    /// what the host should run: then the host is being ended, and a late word of it would stay for ever.
    async fn update<T: Serialize + Sync>(&self, key: String, value: &T) -> Result<(), TableError> {
        let mut update = self.set(&key, value)?;
        let was_made = self.made.has(&key);
        if was_made {
            update = update.condition_expression("attribute_exists(pk)");
        }
        match update.send().await {
            Ok(_) => {}
            Err(err) if was_made && err.code() == Some("ConditionalCheckFailedException") => {
                if self.desired().await?.is_none() {
                    log::debug!(key = key.as_str(); "not written: the host's items were removed");
                    return Ok(());
                }
                let again = self.set(&key, value)?.send().await;
                again.map_err(|err| self.failed("update", &key, err))?;
            }
            Err(err) => return Err(self.failed("update", &key, err)),
        }
        self.made.note(key);
        Ok(())
    }

    fn set<T: Serialize>(
        &self,
        key: &str,
        value: &T,
    ) -> Result<UpdateItemFluentBuilder, TableError> {
        let item = items::to_item(value).map_err(|source| TableError::Malformed {
            table: self.table.clone(),
            key: key.to_owned(),
            source,
        })?;
        let mut update = self
            .client
            .update_item()
            .table_name(&self.table)
            .key(KEY, AttributeValue::S(key.to_owned()))
            .return_values(ReturnValue::None);
        let mut assignments = Vec::new();
        // Names are given apart, because DynamoDB reserves hundreds of words.
        for (index, (name, value)) in item.into_iter().enumerate() {
            assignments.push(format!("#f{index} = :f{index}"));
            update = update
                .expression_attribute_names(format!("#f{index}"), name)
                .expression_attribute_values(format!(":f{index}"), value);
        }
        Ok(update.update_expression(format!("SET {}", assignments.join(", "))))
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
