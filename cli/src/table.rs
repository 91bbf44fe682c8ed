//! The table of enclave records, as a web app uses it.
//!
//! What is written here is what a web app may write: a whole new record, or a request on one that
//! is there, each under a condition that fails rather than overwrite a live enclave.

use crate::{CloudOptions, call_error::CallError, exit::Advise};
use aws_sdk_dynamodb::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    types::{AttributeValue, ReturnValue},
};
use bailey_model::{EnclaveId, Status};
use bailey_runtime::{
    aws,
    items::{ItemError, to_attribute, to_item, to_json},
};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// A record as it is in the table, Bailey's attributes and all others.
pub(crate) type Record = Map<String, Value>;

/// The table of enclave records.
#[derive(Debug)]
pub(crate) struct Table {
    client: Client,
    name: String,
}

/// What came of a conditional write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Write {
    /// The record now holds what was asked.
    Done,
    /// The record is not what the condition demands; nothing was written.
    Refused,
}

impl Table {
    /// Prepares a client; the first call shows whether the table can be reached.
    pub(crate) async fn open(cloud: &CloudOptions) -> Self {
        let config = aws::load(cloud.region.as_deref()).await;
        Self { client: Client::new(&config), name: cloud.table.clone() }
    }

    /// Reads the record as the last write left it.
    pub(crate) async fn find(&self, id: &EnclaveId) -> Result<Option<Record>, TableError> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.name)
            .key("id", AttributeValue::S(id.to_string()))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| self.failed("read", error))?;
        Ok(answer.item.map(to_json))
    }

    /// Reads a record that must be there.
    pub(crate) async fn read(&self, id: &EnclaveId) -> Result<Record, TableError> {
        self.find(id)
            .await?
            .ok_or_else(|| TableError::NotFound { id: id.clone(), table: self.name.clone() })
    }

    /// Reads every record.
    pub(crate) async fn scan(&self) -> Result<Vec<Record>, TableError> {
        let mut pages = self.client.scan().table_name(&self.name).into_paginator().items().send();
        let mut records = Vec::new();
        while let Some(item) = pages.next().await {
            let item = item.map_err(|error| self.failed("read", error))?;
            records.push(to_json(item));
        }
        Ok(records)
    }

    /// Writes a record whose id is not in the table.
    pub(crate) async fn create(&self, record: &Record) -> Result<Write, TableError> {
        let item = to_item(record).map_err(|source| TableError::Item { source })?;
        let answer = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(id)")
            .send()
            .await;
        self.conditional("write", answer)
    }

    /// Writes a new request over a record whose status is still `seen`; attributes that the new
    /// record does not name stay, the old configuration aside.
    pub(crate) async fn renew(
        &self,
        id: &EnclaveId,
        record: &Record,
        seen: &str,
    ) -> Result<Write, TableError> {
        let renewal = Renewal::of(record, seen);
        let mut update = self
            .client
            .update_item()
            .table_name(&self.name)
            .key("id", AttributeValue::S(id.to_string()))
            .update_expression(renewal.update)
            .condition_expression("#status = :seen")
            .set_expression_attribute_names(Some(renewal.names))
            .return_values(ReturnValue::None);
        for (name, value) in renewal.values {
            let value = to_attribute(&value).map_err(|source| TableError::Item { source })?;
            update = update.expression_attribute_values(name, value);
        }
        self.conditional("write", update.send().await)
    }

    /// Writes a request on a record whose status is still `seen`.
    pub(crate) async fn request(
        &self,
        id: &EnclaveId,
        request: Status,
        seen: &str,
    ) -> Result<Write, TableError> {
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let answer = self
            .client
            .update_item()
            .table_name(&self.name)
            .key("id", text(id.as_str()))
            .update_expression("SET #status = :status")
            .condition_expression("#status = :seen")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":status", text(request.as_str()))
            .expression_attribute_values(":seen", text(seen))
            .send()
            .await;
        self.conditional("write", answer)
    }

    fn conditional<T>(
        &self,
        action: &'static str,
        answer: Result<T, SdkError<impl ServiceError>>,
    ) -> Result<Write, TableError> {
        match answer {
            Ok(_) => Ok(Write::Done),
            Err(error) if error.code() == Some("ConditionalCheckFailedException") => {
                Ok(Write::Refused)
            }
            Err(error) => Err(self.failed(action, error)),
        }
    }

    fn failed(&self, action: &'static str, error: SdkError<impl ServiceError>) -> TableError {
        let table = self.name.clone();
        TableError::Call { action, table, source: CallError::from_sdk(error) }
    }
}

/// What every operation's error of the SDK is.
trait ServiceError: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static {}

impl<E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static> ServiceError for E {}

/// The update that puts a new request over an ended enclave's record.
#[derive(Debug, Eq, PartialEq)]
struct Renewal {
    update: String,
    names: HashMap<String, String>,
    values: Vec<(String, Value)>,
}

/// Where a record may hold its configuration; one left over would be read instead of the new one.
const CONFIGURATIONS: [&str; 2] = ["configuration", "providerConfig"];

impl Renewal {
    fn of(record: &Record, seen: &str) -> Self {
        let mut names = HashMap::from([("#status".to_owned(), "status".to_owned())]);
        let mut values = vec![(":seen".to_owned(), Value::from(seen))];
        let (mut set, mut remove) = (Vec::new(), Vec::new());
        let attributes = record.iter().filter(|(name, _)| *name != "id");
        for (index, (name, value)) in attributes.enumerate() {
            set.push(format!("#a{index} = :a{index}"));
            names.insert(format!("#a{index}"), name.clone());
            values.push((format!(":a{index}"), value.clone()));
        }
        let leftovers = CONFIGURATIONS.into_iter().filter(|name| !record.contains_key(*name));
        for (index, name) in leftovers.enumerate() {
            remove.push(format!("#r{index}"));
            names.insert(format!("#r{index}"), name.to_owned());
        }
        let clause = |word: &str, parts: &[String]| match parts {
            [] => String::new(),
            parts => format!("{word} {} ", parts.join(", ")),
        };
        let update = clause("SET", &set) + &clause("REMOVE", &remove);
        Self { update: update.trim_end().to_owned(), names, values }
    }
}

/// Why the table did not do its part.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TableError {
    /// DynamoDB refused the call or did not answer.
    #[error("cannot {action} table `{table}`")]
    Call { action: &'static str, table: String, source: CallError },
    /// An item has no form that this program knows.
    #[error("a record cannot be converted")]
    Item { source: ItemError },
    /// No record has this id.
    #[error("there is no enclave `{id}` in table `{table}`")]
    NotFound { id: EnclaveId, table: String },
}

impl Advise for TableError {
    fn advice(&self) -> Option<String> {
        match self {
            Self::Call { source, .. } => Some(source.advice()),
            Self::Item { .. } => None,
            Self::NotFound { .. } => {
                Some("`bailey ls` lists the enclaves; --table names another table".to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_renewal_sets_what_the_record_names_and_drops_the_older_configuration() {
        let record =
            json!({"id": "e", "configuration": {"cpu_count": 2}, "status": "PENDING_DEPLOY"});
        let renewal = Renewal::of(record.as_object().unwrap(), "FAILED");
        assert_eq!(renewal.update, "SET #a0 = :a0, #a1 = :a1 REMOVE #r0");
        assert_eq!(renewal.names["#a0"], "configuration");
        assert_eq!(renewal.names["#a1"], "status");
        assert_eq!(renewal.names["#r0"], "providerConfig");
        assert_eq!(renewal.names["#status"], "status");
        assert_eq!(
            renewal.values,
            [
                (":seen".to_owned(), json!("FAILED")),
                (":a0".to_owned(), json!({"cpu_count": 2})),
                (":a1".to_owned(), json!("PENDING_DEPLOY")),
            ]
        );
    }

    #[test]
    fn a_renewal_without_a_configuration_drops_both_old_ones() {
        let record = json!({"id": "e", "status": "PENDING_DEPLOY"});
        let renewal = Renewal::of(record.as_object().unwrap(), "DESTROYED");
        assert_eq!(renewal.update, "SET #a0 = :a0 REMOVE #r0, #r1");
    }
}
