//! Many records at once, and what is left of them.

use crate::local::{CloudError, LocalCloud, Record};
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, Select, WriteRequest};
use bailey_lifecycle::launch::TAG_ENCLAVE;
use bailey_runtime::items;
use futures_util::{TryStreamExt as _, stream};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

/// Items that one `BatchWriteItem` takes.
const BATCH: usize = 25;
/// A web app's writes that are under way together.
const WRITES_AT_ONCE: usize = 16;
/// How often records are counted: each count makes the emulator walk through all of them.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// A record for a light host: one that demands the measurements that the host will state.
#[must_use]
pub fn record(id: &str) -> Value {
    json!({
        "id": id, "status": "PENDING_DEPLOY",
        "configuration": { "instance_type": "m5.xlarge", "cpu_count": 2, "memory_mib": 1024,
                           "eif_path": "s3://your-bucket/light.eif", "require_verified": true,
                           "expected_pcrs": crate::local::light_measurements() },
    })
}

impl LocalCloud {
    /// Writes many records as a web app does that has them all at once.
    pub async fn put_records(&self, records: &[Value]) -> Result<(), CloudError> {
        let table = &self.names().enclaves_table;
        let written = |source| CloudError::Item { table: table.clone(), source };
        let mut puts = Vec::new();
        for record in records {
            let item = items::to_item(record).map_err(written)?;
            let put = PutRequest::builder().set_item(Some(item)).build();
            let put = put.map_err(CloudError::aws("put a record into a batch"))?;
            puts.push(WriteRequest::builder().put_request(put).build());
        }
        let batches = puts.chunks(BATCH).map(|batch| Ok(self.put_batch(batch.to_vec())));
        stream::iter(batches).try_for_each_concurrent(WRITES_AT_ONCE, |batch| batch).await
    }

    /// DynamoDB may leave items of a batch for another call.
    async fn put_batch(&self, batch: Vec<WriteRequest>) -> Result<(), CloudError> {
        let mut left = HashMap::from([(self.names().enclaves_table.clone(), batch)]);
        while !left.is_empty() {
            let written = self.dynamodb().batch_write_item().set_request_items(Some(left)).send();
            let written = written.await.map_err(CloudError::aws("write a batch of records"))?;
            left = written.unprocessed_items.unwrap_or_default();
        }
        Ok(())
    }

    /// Sets the status of many records.
    pub async fn set_statuses(&self, ids: &[String], status: &str) -> Result<(), CloudError> {
        let sets = ids.iter().map(|id| Ok(self.set_status(id, status)));
        stream::iter(sets).try_for_each_concurrent(WRITES_AT_ONCE, |set| set).await
    }

    /// How many records have this status, by the table's index.
    pub async fn count(&self, status: &str) -> Result<usize, CloudError> {
        let table = &self.names().enclaves_table;
        let pages = self
            .dynamodb()
            .query()
            .table_name(table)
            .index_name("status-index")
            .select(Select::Count)
            .key_condition_expression("#status = :status")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":status", AttributeValue::S(status.to_owned()))
            .into_paginator();
        let mut pages = pages.send();
        let mut count = 0;
        while let Some(page) = pages.next().await {
            let page = page.map_err(CloudError::aws(format!("count the records of {table}")))?;
            count += usize::try_from(page.count()).unwrap_or_default();
        }
        Ok(count)
    }

    /// Waits until so many records have this status, none of those that are left can come to it any
    /// more, or the time is over; tells how many there are then.
    pub async fn wait_for_count(
        &self,
        status: &str,
        wanted: usize,
        limit: Duration,
    ) -> Result<usize, CloudError> {
        let started = Instant::now();
        loop {
            let reached = self.count(status).await?;
            let failed = if reached < wanted { self.count("FAILED").await? } else { 0 };
            log::info!(status, reached, failed, wanted; "records");
            if reached + failed >= wanted || started.elapsed() > limit {
                return Ok(reached);
            }
            tokio::time::sleep(LOOK_PERIOD).await;
        }
    }

    /// The records for which more than one instance was launched, with how many.
    pub async fn launched_twice(&self) -> Result<BTreeMap<String, usize>, CloudError> {
        let mut launches = BTreeMap::new();
        for instance in self.simulation().await?.instances {
            if let Some(id) = instance.tags.get(TAG_ENCLAVE) {
                *launches.entry(id.clone()).or_default() += 1;
            }
        }
        launches.retain(|_, launches| *launches > 1);
        Ok(launches)
    }

    /// What is left of hosts: instances that are not gone, and items of the hosts table.
    pub async fn left(&self) -> Result<(usize, Vec<Record>), CloudError> {
        Ok((self.simulation().await?.live().count(), self.hosts().await?))
    }
}
