//! What a web app, a test or a curious person does with the tables and buckets.

use super::{CloudError, LocalCloud};
use aws_sdk_dynamodb::types::AttributeValue;
use bailey_model::{
    S3Location,
    hosts::{Beat, Desired, Observed, beat_key, desired_key, observed_key},
};
use bailey_runtime::items::{self, Item};
use serde_json::{Map, Value};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// A record, as JSON.
pub type Record = Map<String, Value>;

/// How often a record is looked at while something is waited for.
const LOOK_PERIOD: Duration = Duration::from_millis(50);

/// A record for which the waiting had an end.
#[derive(Clone, Debug)]
pub struct Waited {
    /// The record.
    pub record: Record,
    /// How long it took.
    pub took: Duration,
}

impl LocalCloud {
    /// Puts an object into the image bucket and returns its version.
    pub async fn upload_eif(&self, key: &str, image: Vec<u8>) -> Result<String, CloudError> {
        let (bucket, key) = (self.names().eif_bucket.clone(), key.to_owned());
        self.clients.put_object(&S3Location { bucket, key }, image).await
    }

    /// The text of an object, given as `s3://bucket/key`.
    pub async fn object(&self, location: &S3Location) -> Result<Vec<u8>, CloudError> {
        let action = || format!("read {location}");
        let object = self.s3().get_object().bucket(&location.bucket).key(&location.key);
        let object = object.send().await.map_err(CloudError::aws(action()))?;
        let body = object.body.collect().await.map_err(CloudError::aws(action()))?;
        Ok(body.into_bytes().to_vec())
    }

    /// Writes a whole record, as a web app does.
    pub async fn put_record(&self, record: &Value) -> Result<(), CloudError> {
        let table = &self.names().enclaves_table;
        let item = items::to_item(record).map_err(|source| bad_item(table, source))?;
        let put = self.dynamodb().put_item().table_name(table).set_item(Some(item));
        put.send().await.map_err(CloudError::aws("write a record"))?;
        Ok(())
    }

    /// Sets one attribute of a record, as a web app does.
    pub async fn set_attribute(
        &self,
        id: &str,
        name: &str,
        value: &Value,
    ) -> Result<(), CloudError> {
        let table = &self.names().enclaves_table;
        let value = items::to_attribute(value).map_err(|source| bad_item(table, source))?;
        self.dynamodb()
            .update_item()
            .table_name(table)
            .key("id", AttributeValue::S(id.to_owned()))
            .update_expression("SET #n = :v")
            .expression_attribute_names("#n", name)
            .expression_attribute_values(":v", value)
            .send()
            .await
            .map_err(CloudError::aws(format!("set {name} of the record {id}")))?;
        Ok(())
    }

    /// Sets the status of a record, as a web app does.
    pub async fn set_status(&self, id: &str, status: &str) -> Result<(), CloudError> {
        self.set_attribute(id, "status", &status.into()).await
    }

    /// Removes a record, as a web app does.
    pub async fn delete_record(&self, id: &str) -> Result<(), CloudError> {
        let table = &self.names().enclaves_table;
        let delete = self.dynamodb().delete_item().table_name(table);
        let delete = delete.key("id", AttributeValue::S(id.to_owned()));
        delete.send().await.map_err(CloudError::aws(format!("delete the record {id}")))?;
        Ok(())
    }

    /// A record, when there is one.
    pub async fn record(&self, id: &str) -> Result<Option<Record>, CloudError> {
        let table = &self.names().enclaves_table;
        let item = self.item(table, [("id", id)]).await?;
        Ok(item.map(items::to_json))
    }

    /// Every record.
    pub async fn records(&self) -> Result<Vec<Record>, CloudError> {
        self.scan(&self.names().enclaves_table).await
    }

    /// The keys of all objects below a prefix.
    pub async fn keys(&self, bucket: &str, prefix: &str) -> Result<Vec<String>, CloudError> {
        let pages = self.s3().list_objects_v2().bucket(bucket).prefix(prefix);
        let mut pages = pages.into_paginator().send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(CloudError::aws(format!("list s3://{bucket}/{prefix}")))?;
            let objects = page.contents.unwrap_or_default();
            keys.extend(objects.into_iter().filter_map(|object| object.key));
        }
        Ok(keys)
    }

    /// Waits until the record is as `wanted` says, looking at it every 50 ms.
    ///
    /// `what` names that for people, for the error after `limit`.
    pub async fn wait_for(
        &self,
        id: &str,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Record) -> bool,
    ) -> Result<Waited, CloudError> {
        let started = Instant::now();
        loop {
            let record = self.record(id).await?;
            let took = started.elapsed();
            match record {
                Some(record) if wanted(&record) => return Ok(Waited { record, took }),
                record if took > limit => {
                    let found = serde_json::to_string(&record).unwrap_or_default();
                    let (id, wanted) = (id.to_owned(), what.to_owned());
                    return Err(CloudError::WaitedInVain { id, wanted, found, waited: took });
                }
                _ => tokio::time::sleep(LOOK_PERIOD).await,
            }
        }
    }

    /// Waits until the record has this status.
    pub async fn wait_for_status(
        &self,
        id: &str,
        status: &str,
        limit: Duration,
    ) -> Result<Waited, CloudError> {
        let has = |record: &Record| record.get("status").and_then(Value::as_str) == Some(status);
        self.wait_for(id, status, limit, has).await
    }

    /// Every item of the ledger.
    pub async fn ledger(&self) -> Result<Vec<Record>, CloudError> {
        self.scan(&self.names().ledger_table).await
    }

    /// Every item of the hosts table.
    pub async fn hosts(&self) -> Result<Vec<Record>, CloudError> {
        self.scan(&self.names().hosts_table).await
    }

    /// What the instance with this ARN should run.
    pub async fn desired(&self, instance_arn: &str) -> Result<Option<Desired>, CloudError> {
        self.host_item(&desired_key(instance_arn)).await
    }

    /// What the agent of the instance with this ARN reported.
    pub async fn observed(&self, instance_arn: &str) -> Result<Option<Observed>, CloudError> {
        self.host_item(&observed_key(instance_arn)).await
    }

    /// The heartbeat of the agent of the instance with this ARN.
    pub async fn beat(&self, instance_arn: &str) -> Result<Option<Beat>, CloudError> {
        self.host_item(&beat_key(instance_arn)).await
    }

    async fn host_item<T: serde::de::DeserializeOwned>(
        &self,
        key: &str,
    ) -> Result<Option<T>, CloudError> {
        let table = &self.names().hosts_table;
        let item = self.item(table, [("pk", key)]).await?;
        let value = |item| items::from_item(item).map_err(|source| bad_item(table, source));
        item.map(value).transpose()
    }

    async fn item<const N: usize>(
        &self,
        table: &str,
        key: [(&str, &str); N],
    ) -> Result<Option<Item>, CloudError> {
        let key: HashMap<_, _> = key
            .into_iter()
            .map(|(name, value)| (name.to_owned(), AttributeValue::S(value.to_owned())))
            .collect();
        let get = self.dynamodb().get_item().table_name(table).set_key(Some(key));
        let found = get.consistent_read(true).send().await;
        Ok(found.map_err(CloudError::aws(format!("read an item of {table}")))?.item)
    }

    async fn scan(&self, table: &str) -> Result<Vec<Record>, CloudError> {
        let pages = self.dynamodb().scan().table_name(table).consistent_read(true);
        let mut items = pages.into_paginator().items().send();
        let mut records = Vec::new();
        while let Some(item) = items.next().await {
            let item = item.map_err(CloudError::aws(format!("read {table}")))?;
            records.push(items::to_json(item));
        }
        Ok(records)
    }
}

fn bad_item(table: &str, source: items::ItemError) -> CloudError {
    CloudError::Item { table: table.to_owned(), source }
}
