//! The ledger: the truth about every enclave id, written by coordinators only.

use super::{StoreError, Written, condition};
use aws_sdk_dynamodb::{Client, types::AttributeValue};
use bailey_lifecycle::ledger::Entry;
use bailey_model::EnclaveId;
use bailey_runtime::items::{from_item, to_item};

/// Sort key of an enclave's entry.
const ENTRY: &str = "entry";
/// The sparse index of entries that are not ended; its name and its keys.
const ACTIVE_INDEX: &str = "active-index";
/// The one value of the index's partition key.
const ACTIVE: &str = "active";

/// The ledger's table. Keys: `pk` = `enclave#<id>`, `sk` = `entry`.
#[derive(Clone, Debug)]
pub struct Ledger {
    client: Client,
    table: String,
}

impl Ledger {
    /// The ledger in `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Reads an entry, with every write before this call.
    pub async fn read(&self, id: &EnclaveId) -> Result<Option<Entry>, StoreError> {
        let place = format!("{}/{id}", self.table);
        let output = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("pk", AttributeValue::S(key(id)))
            .key("sk", AttributeValue::S(ENTRY.to_owned()))
            .consistent_read(true)
            .send()
            .await
            .map_err(StoreError::call("read", &place))?;
        output.item.map(from_item).transpose().map_err(StoreError::item(place))
    }

    /// Writes an entry whose version is the one that was read, and gives it as it is now.
    pub async fn save(&self, entry: &Entry) -> Result<Written<Entry>, StoreError> {
        let place = format!("{}/{}", self.table, entry.id);
        let next = Entry { version: entry.version.saturating_add(1), ..entry.clone() };
        let mut item = to_item(&next).map_err(StoreError::item(&place))?;
        item.insert("pk".to_owned(), AttributeValue::S(key(&entry.id)));
        item.insert("sk".to_owned(), AttributeValue::S(ENTRY.to_owned()));
        if next.is_active() {
            item.insert("active".to_owned(), AttributeValue::S(ACTIVE.to_owned()));
        }
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        // `version` is no reserved word, but a placeholder costs nothing and stays right.
        let put = if entry.version == 0 {
            put.condition_expression("attribute_not_exists(pk)")
        } else {
            put.condition_expression("#version = :read")
                .expression_attribute_names("#version", "version")
                .expression_attribute_values(":read", AttributeValue::N(entry.version.to_string()))
        };
        let written = condition(put.send().await, "write", &place)?;
        Ok(match written {
            Written::Done(_) => Written::Done(next),
            Written::Outdated => Written::Outdated,
        })
    }

    /// The ids of all entries that are not ended.
    pub async fn active(&self) -> Result<Vec<EnclaveId>, StoreError> {
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(ACTIVE_INDEX)
            .key_condition_expression("active = :active")
            .expression_attribute_values(":active", AttributeValue::S(ACTIVE.to_owned()))
            .into_paginator()
            .items()
            .send();
        let mut ids = Vec::new();
        while let Some(item) = pages.next().await {
            let item = item.map_err(StoreError::call("query", &self.table))?;
            ids.extend(item.get("pk").and_then(|pk| id_of(pk.as_s().ok()?)));
        }
        Ok(ids)
    }
}

fn key(id: &EnclaveId) -> String {
    format!("enclave#{id}")
}

fn id_of(key: &str) -> Option<EnclaveId> {
    key.strip_prefix("enclave#")?.parse().ok()
}
